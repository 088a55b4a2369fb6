// Registers, and the reading of matrix products' factors.
//
// With BF16 both sides of a product are rounded to bfloat16, and two consecutive factors, a pair, use the
// space of a float32: one instruction sums their products in float32. PAIR is the number of factors in such a place.

namespace unroll {
namespace CONCAT(in_, ISA) {

typedef float Vec __attribute__((vector_size(WIDTH * 4)));

static inline Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

#if defined(__AVX2__) && WIDTH == 8
// For the first n of eight places.
static inline __m256i first_places(long n) {
  const __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), places);
}
#endif

// Reads only n values.
static inline Vec load(const float* from, long n) {
  if (n >= WIDTH) return load(from);
#ifdef __AVX512F__
  return (Vec)_mm512_maskz_loadu_ps((1 << n) - 1, from);
#elif defined(__AVX2__) && WIDTH == 8
  return (Vec)_mm256_maskload_ps(from, first_places(n));
#else
  Vec v{};
  std::memcpy(&v, from, n * sizeof(float));
  return v;
#endif
}

static inline void store(float* to, Vec v, long n) {
  if (n >= WIDTH)
    std::memcpy(to, &v, sizeof v);
  else
#ifdef __AVX512F__
    _mm512_mask_storeu_ps(to, (1 << n) - 1, (__m512)v);
#elif defined(__AVX2__) && WIDTH == 8
    _mm256_maskstore_ps(to, first_places(n), (__m256)v);
#else
    std::memcpy(to, &v, n * sizeof(float));
#endif
}

#ifdef BF16
constexpr int PAIR = 2;

// For each column, the pair of the values in two rows.
static inline Vec paired(Vec first, Vec second) {
#ifdef __AVX512BF16__
  const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (Vec)_mm512_permutexvar_epi16(turns, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
#else
  Vec both;
  for (int i = 0; i < WIDTH; ++i) both[i] = pair_of(first[i], second[i]);
  return both;
#endif
}

// The same for adjacent factors.
static inline Vec paired_along(Vec first, Vec second) {
#ifdef __AVX512BF16__
  return (Vec)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
#else
  Vec both;
  for (int i = 0; i < WIDTH; ++i) {
    const Vec& half = 2 * i < WIDTH ? first : second;
    both[i] = pair_of(half[2 * i % WIDTH], half[2 * i % WIDTH + 1]);
  }
  return both;
#endif
}

static inline void add_products(Vec& sum, Vec a, Vec b) {
#ifdef __AVX512BF16__
  sum = (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  typedef std::uint32_t Bits __attribute__((vector_size(WIDTH * 4)));
  const Bits left = (Bits)a, right = (Bits)b, high = Bits{} + 0xffff0000u;
  sum += (Vec)(left << 16) * (Vec)(right << 16);
  sum += (Vec)(left & high) * (Vec)(right & high);
#endif
}
#else
constexpr int PAIR = 1;

static inline Vec paired(Vec only, Vec) { return only; }

static inline void add_products(Vec& sum, Vec a, Vec b) { sum += a * b; }
#endif

#ifdef AMX
constexpr long DEPTH = 2 * WIDTH,
               HEIGHT = WIDTH;  // factors and rows multiplied at once, filled up with zeros
#else
constexpr long DEPTH = PAIR, HEIGHT = 1;
#endif

#ifndef TILES_OF_AMX
struct Tiles {  // without AMX there is nothing to set up or release
  ~Tiles() {}
};
#endif

static inline long places(long factors) { return (factors + DEPTH - 1) / DEPTH * (DEPTH / PAIR); }

static inline long whole_rows(long rows) { return (rows + HEIGHT - 1) / HEIGHT * HEIGHT; }

// The value in each place, or its bits; compilers remove the subtraction of zero.
static inline Vec all(float value) { return value - Vec{}; }

template <int N>
struct Count {
  static constexpr int value = N;
};

// Call f with Count<n>, for n from 1 to MOST.
template <int MOST, class F>
static inline void with_count(long n, const F& f) {
  if constexpr (MOST == 1) {
    f(Count<1>());
  } else {
    if (n >= MOST)
      f(Count<MOST>());
    else
      with_count<MOST - 1>(n, f);
  }
}

// Call each(first row, rows) for parts of nearly equal size, as a part of a single row takes as long as a full one.
template <class Each>
static inline void each_part(long begin, long end, long most, const Each& each) {
  const long parts = (end - begin + most - 1) / most;
  for (long i = 0; i < parts; ++i) {
    const long rows = (end - begin + parts - i - 1) / (parts - i);
    each(begin, rows);
    begin += rows;
  }
}

template <class Each>
static inline void each_tile(long begin, long end, const Each& each) {
  each_part(begin, end, MOST_ROWS, each);
}

// The rows of a matrix: runs at a fixed stride, with a jump between runs.
class Rows {
 public:
  // From row n on; runs of `run` rows start `apart` rows from each other.
  Rows(const float* from, long stride, long n, long run, long apart)
      : at_(from + (n / run * apart + n % run) * stride),
        stride_(stride),
        jump_((apart - run) * stride),
        run_(run),
        left_(run - n % run) {}

  const float* next() {
    const float* const here = at_;
    at_ += stride_;
    if (--left_ == 0) at_ += jump_, left_ = run_;
    return here;
  }

 private:
  const float* at_;
  long stride_, jump_, run_, left_;
};

// The contents of a place of each column of a matrix: one row, or a pair of rows; past the end zeros.
struct Place {
  const float *first, *second;

  // For the columns from c on.
  Vec of(long c) const { return paired(first ? load(first + c) : Vec{}, second ? load(second + c) : Vec{}); }
};

// The places of a matrix's rows in order; past its n rows they are zero.
class Places {
 public:
  Places(const Rows& rows, long n) : rows_(rows), left_(n) {}

  Place next() {
    const float* first = left_-- > 0 ? rows_.next() : nullptr;
    return {first, PAIR > 1 && left_-- > 0 ? rows_.next() : nullptr};
  }

 private:
  Rows rows_;
  long left_;
};

// A left side with k adjacent places.
struct Left {
  const float* at;
  long row, k;
};

// Rows of k factors to multiply; `room` has WIDTH floats more per row than places(k).
static inline Left as_left(const float* at, long row, long k, [[maybe_unused]] long rows,
                           [[maybe_unused]] float* room) {
#ifdef BF16
  const long width = places(k) + WIDTH;
  for (long r = 0; r < rows; ++r)
    for (long i = 0; i < k; i += 2 * WIDTH) {
      const float* from = at + r * row + i;
      const Vec first = load(from, k - i), second = k - i > WIDTH ? load(from + WIDTH, k - i - WIDTH) : Vec{};
      store(room + r * width + i / 2, paired_along(first, second), WIDTH);
    }
  return {room, width, places(k)};
#else
  return {at, row, k};
#endif
}

}  // namespace of the instruction set
}  // namespace unroll
