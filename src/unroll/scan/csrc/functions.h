// Functions of registers. NaN gives NaN, and errors are within 5e-7 of the result; of 1 for tanh and sigmoid.

// A call in a loop would cost the registers of everything else in it.
#define INLINE __attribute__((always_inline)) static inline

namespace unroll {
namespace CONCAT(in_, ISA) {

typedef std::int32_t Ints __attribute__((vector_size(WIDTH * 4)));
typedef std::uint32_t Bits __attribute__((vector_size(WIDTH * 4)));  // which may overflow

// p / q for a q that is neither zero nor infinite: by an estimate of 14 bits and a Newton step, as dividing 512 bits takes 16
// cycles.
INLINE Vec quotient(Vec p, Vec q) {
#ifdef __AVX512F__
  const Vec r = (Vec)_mm512_maskz_rcp14_ps(-1, (__m512)q);
  return p * (r + r * (1 - q * r));
#else
  return p / q;
#endif
}

// From -most to most; a NaN passes.
INLINE Vec bounded(Vec x, Vec most) {
#ifdef __AVX512F__
  return (Vec)_mm512_maskz_max_ps(-1, (__m512)-most, _mm512_maskz_min_ps(-1, (__m512)most, (__m512)x));
#else
  x = x > most ? most : x;
  return x < -most ? -most : x;
#endif
}

// The rational approximation of Eigen (Eigen/src/Core/MathFunctionsImpl.h, generic_fast_tanh_float): an odd polynomial of
// degree 13 over an even one of degree 6, largest error 3.3e-7.
INLINE Vec tanh(Vec x) {
  x = bounded(x, Vec{} + 7.90531110763549805f);
  const Vec s = x * x;
  Vec p = Vec{} + -2.76076847742355e-16f;
  p = p * s + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Vec q = Vec{} + 1.19825839466702e-06f;
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return quotient(x * p, q);
}

INLINE Vec sigmoid(Vec x) { return 0.5f + 0.5f * tanh(0.5f * x); }

// The rational approximation of Eigen (Eigen/src/SpecialFunctions, erf of float32): an odd polynomial of degree 13 over an even
// one of degree 8, from -4 to 4; largest error 4.5e-7.
INLINE Vec erf(Vec x) {
  x = bounded(x, Vec{} + 4.0f);
  const Vec s = x * x;
  Vec p = Vec{} + -2.72614225801306e-10f;
  p = p * s + 2.77068142495902e-08f;
  p = p * s + -2.10102402082508e-06f;
  p = p * s + -5.69250639462346e-05f;
  p = p * s + -7.34990630326855e-04f;
  p = p * s + -2.95459980854025e-03f;
  p = p * s + -1.60960333262415e-02f;
  Vec q = Vec{} + -1.45660718464996e-05f;
  q = q * s + -2.13374055278905e-04f;
  q = q * s + -1.68282697438203e-03f;
  q = q * s + -7.37332916720468e-03f;
  q = q * s + -1.42647390514189e-02f;
  return quotient(x * p, q);
}

static inline Vec infinity() { return Vec{} + __builtin_inff(); }

static inline Vec absolute(Vec x) { return (Vec)((Ints)x & 0x7fffffff); }

static inline Vec maximum(Vec a, Vec b) { return a > b ? a : (b >= a ? b : a + b); }

static inline Vec minimum(Vec a, Vec b) { return a < b ? a : (b <= a ? b : a + b); }

// 2^n e^r for the nearest whole n, which adding 1.5 * 2^23 leaves in the lowest bits. 2^n is multiplied in two halves, as it
// may itself be too large or too small for a float32. The polynomial is that of Cephes (expf.c).
INLINE Vec exp(Vec x) {
  x = bounded(x, Vec{} + 105.0f);
  const Vec shift = Vec{} + 12582912.0f, shifted = x * 1.44269504088896341f + shift, n = shifted - shift;
  const Vec r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Vec p = Vec{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1;
  const Bits whole = (Bits)shifted - (Bits)shift, half = (Bits)((Ints)whole >> 1);
  return p * (Vec)((half + 127) << 23) * (Vec)((whole - half + 127) << 23);
}

// e ln 2 + log m for a power of two, 2^e, and m from sqrt(1/2) to sqrt(2). The polynomial is that of Cephes (logf.c).
INLINE Vec log(Vec x) {
  const Bits root = Bits{} + 0x3f3504f3, bits = (Bits)x - root;
  const Vec e = __builtin_convertvector((Ints)bits >> 23, Vec), f = (Vec)((bits & 0x7fffff) + root) - 1;
  Vec p = Vec{} + 7.0376836292e-2f;
  p = p * f + -1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f + -1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f + -1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f + -2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const Vec square = f * f, small = p * f * square + e * -2.12194440e-4f - 0.5f * square;
  const Vec value = f + small + e * 0.693359375f;
  const Vec at_end = x == 0 ? -infinity() : (x > 0 ? x : x - x + __builtin_nanf(""));
  return (x > 0) & (x < infinity()) ? value : at_end;
}

// Of 1 + x, corrected by how much rounding it has changed x (Kahan).
static inline Vec log1p(Vec x) {
  const Vec u = 1 + x, rounded = u - 1;
  const Vec value = x * (log(u) / rounded);
  return (rounded == 0) | (x == infinity()) ? x : value;
}

static inline Vec expm1(Vec x) {
  const Vec u = exp(x), value = (u - 1) * (x / log(u));
  return u == 1 ? x : ((u == 0) | (u == infinity()) ? u - 1 : value);
}

// Unit by unit, for functions that are rare in a recurrence.
template <float (*FUNCTION)(float)>
static inline Vec each_of(Vec x) {
  Vec y;
  for (int i = 0; i < WIDTH; ++i) y[i] = FUNCTION(x[i]);
  return y;
}

static inline float sine(float x) { return __builtin_sinf(x); }

static inline float cosine(float x) { return __builtin_cosf(x); }

static inline float arc_tangent(float x) { return __builtin_atanf(x); }

static inline float whole_below(float x) { return __builtin_floorf(x); }

static inline float square_root(float x) { return __builtin_sqrtf(x); }

}  // namespace of the instruction set
}  // namespace unroll
