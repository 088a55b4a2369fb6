#include "step.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "memory.h"
#include "threads.h"

namespace unroll {
namespace {

constexpr long CHUNK = 4096;  // gradients whose squares are summed in float32

}  // namespace

TrainingStep::TrainingStep(const Layout& layout, long classes, const Data& data)
    : layout_(layout), classes_(classes), whole_(layout.time), data_(data) {
  const auto features = static_cast<std::size_t>(layout.program->inputs);
  if (data.mean.size() != features || data.scale.size() != features)
    throw std::invalid_argument("mean and scale must have one number for each feature");
  if (!data.weights.empty() && data.weights.size() != static_cast<std::size_t>(classes))
    throw std::invalid_argument("weights must have one number for each class");
  const auto parts = static_cast<std::size_t>(layout.program->widths.count);
  states_.resize(parts), ends_.resize(parts), d_ends_.resize(parts);
}

void TrainingStep::use(const std::vector<Parameter>& parameters, const Adam& adam) {
  std::vector<long> sizes(begin(layout_.program->sizes), end(layout_.program->sizes));
  sizes.push_back(classes_ * hidden());
  sizes.push_back(classes_);
  if (parameters.size() != sizes.size())
    throw std::invalid_argument("a training step takes the program's tensors and those of the head");
  for (std::size_t i = 0; i < sizes.size(); ++i)
    if (parameters[i].n != sizes[i])
      throw std::invalid_argument("a parameter has another size than its place asks for");
  parameters_ = parameters;
  adam_ = adam;
  gradients_.resize(sizes.size());
  tensors_.clear(), tensor_gradients_.clear();
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    float* const gradient = room(gradients_[i], sizes[i]);
    if (i + 2 < sizes.size()) tensors_.push_back(parameters[i].values), tensor_gradients_.push_back(gradient);
  }
}

std::pair<std::vector<double>, long> TrainingStep::run(const std::int64_t* order, long n, long batch,
                                                       const std::vector<long>& times, int threads,
                                                       const std::vector<double>& rates) {
  const auto steps = static_cast<std::size_t>(batch > 0 ? (n + batch - 1) / batch : 0);
  if (times.size() != steps || rates.size() != steps)
    throw std::invalid_argument("each step needs its time steps and its rate");
  for (const long time : times)
    if (time < 1 || time > whole_) throw std::invalid_argument("a step reads from 1 to all time steps of the data");
  layout_.threads = threads;
  std::pair<std::vector<double>, long> all;
  for (std::size_t i = 0; i < steps; ++i) {
    const long at = static_cast<long>(i) * batch;
    const auto [loss, right] = step(order + at, std::min(batch, n - at), times[i], rates[i]);
    all.first.push_back(loss);
    all.second += right;
  }
  return all;
}

std::pair<double, long> TrainingStep::step(const std::int64_t* order, long n, long time, double lr) {
  Layout& a = layout_;
  a.batch = n;
  a.time = time;
  const program::Program& p = *a.program;
  gather(order);
  Parts states, ends, d_ends;
  for (long i = 0; i < p.widths.count; ++i) {
    const long numbers = n * p.widths.items[i];
    states.push_back(room(states_[i], (time + 1) * numbers));
    ends.push_back(room(ends_[i], numbers));
    d_ends.push_back(room(d_ends_[i], numbers));
  }
  float* const kept = room(kept_, time * n * p.kept);
  forward(a, tensors_, steps_.data(), p.inputs, n * p.inputs, Tensors(p.widths.count), states, time + 1, ends, nullptr,
          kept);
  const auto result = loss();
  head_back();
  for (long i = 1; i < p.widths.count; ++i) std::fill_n(d_ends[i], n * p.widths.items[i], 0.0f);
  for (std::size_t i = 0; i < tensors_.size(); ++i) std::fill_n(tensor_gradients_[i], parameters_[i].n, 0.0f);
  backward(a, tensors_, states, kept, steps_.data(), nullptr, 0, 0, 0, d_ends, false, tensor_gradients_, nullptr);
  update(lr);
  return result;
}

void TrainingStep::gather(const std::int64_t* order) {
  const Layout& a = layout_;
  const long inputs = a.program->inputs;
  float* steps = room(steps_, a.time * a.batch * inputs);
  y_.resize(a.batch);
  starts_.resize(a.batch);
  lengths_.resize(a.batch);
  layout_.lengths = data_.lengths ? lengths_.data() : nullptr;
  for (long b = 0; b < a.batch; ++b) {
    y_[b] = data_.y[order[b]];
    starts_[b] = data_.starts[order[b]];
    lengths_[b] = std::min<long>(data_.lengths ? data_.lengths[order[b]] : a.time, a.time);
  }
  const Gather g{data_.bytes,        data_.floats, starts_.data(), lengths_.data(), data_.mean.data(),
                 data_.scale.data(), a.batch,      a.time,         inputs,          steps};
  // Sequences in random order are read with cache misses, each as slow as many products.
  split(a.batch, threads_for(32 * a.time * a.batch * inputs),
        [&](long begin, long end) { a.kernels->gather(g, begin, end); });
}

// Cross entropy; the logits become its gradient.
std::pair<double, long> TrainingStep::loss() {
  const Layout& a = layout_;
  float* logits = room(logits_, a.batch * classes_);
  const float *head_weight = head()[0].values, *bias = head()[1].values;
  pack(packed_, *a.kernels, a.kernels->panel, classes_, {{head_weight, hidden(), 1, hidden()}});
  const Columns all_units{0, hidden()};
  const Inputs head{ends_[0].data(), a.batch,        hidden(), &all_units, 1,
                    nullptr,         packed_.data(), logits,   classes_,   classes_};
  const int threads = threads_for(a.batch * hidden() * classes_);
  split(a.batch, threads,
        [&](long begin, long end) { a.kernels->inputs(head, begin, end, scratch(a.kernels->inputs_scratch(head))); });
  const float own = 1 - data_.smoothing, even = data_.smoothing / classes_;  // shares of the target
  double sum = 0;
  long right = 0;
  for (long b = 0; b < a.batch; ++b) {
    float* z = logits + b * classes_;
    for (long k = 0; k < classes_; ++k) z[k] += bias[k];
    const long top = std::max_element(z, z + classes_) - z;
    const float most = z[top];
    float total = 0, spread = 0;
    for (long k = 0; k < classes_; ++k) total += std::exp(z[k] - most), spread += even * z[k];
    const float log_total = std::log(total) + most;
    const float weight = data_.weights.empty() ? 1.0f : data_.weights[y_[b]];
    sum += weight * (log_total - own * z[y_[b]] - spread);
    right += top == y_[b];
    for (long k = 0; k < classes_; ++k)
      z[k] = weight * (std::exp(z[k] - log_total) - (k == y_[b] ? own : 0.0f) - even) / a.batch;
  }
  return {sum, right};
}

void TrainingStep::head_back() {
  const Layout& a = layout_;
  const Gradient parts[] = {{0, classes_, ends_[0].data(), hidden(), hidden(), gradients_[tensors_.size()].data()},
                            {0, classes_, nullptr, 0, 1, gradients_[tensors_.size() + 1].data()}};
  const Gradients g{logits_.data(), a.batch, classes_, a.batch, a.batch, parts, 2, false};
  pack(packed_, *a.kernels, a.kernels->panel, hidden(), {{head()[0].values, 1, hidden(), classes_}});
  const Columns all_classes{0, classes_};
  const Inputs back{logits_.data(), a.batch,        classes_,          &all_classes, 1,
                    nullptr,        packed_.data(), d_ends_[0].data(), hidden(),     hidden()};
  const int threads = threads_for(a.batch * hidden() * classes_);
  split(classes_, threads,
        [&](long begin, long end) { a.kernels->gradients(g, begin, end, scratch(a.kernels->gradients_scratch(g))); });
  split(a.batch, threads,
        [&](long begin, long end) { a.kernels->inputs(back, begin, end, scratch(a.kernels->inputs_scratch(back))); });
}

// Like torch.nn.utils.clip_grad_norm_; NaN is kept, so that it is noticed.
float TrainingStep::clipping() {
  if (!(adam_.clip > 0)) return 1;
  double squares = 0;
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    for (long from = 0; from < parameters_[i].n; from += CHUNK) {
      float sums[8] = {};
      const float* g = gradients_[i].data() + from;
      const long n = std::min(CHUNK, parameters_[i].n - from);
      for (long j = 0; j + 8 <= n; j += 8)
        for (int k = 0; k < 8; ++k) sums[k] += g[j + k] * g[j + k];
      for (long j = n / 8 * 8; j < n; ++j) sums[0] += g[j] * g[j];
      for (float sum : sums) squares += sum;
    }
  const double over = adam_.clip / (std::sqrt(squares) + 1e-6);
  return over > 1 ? 1 : over;
}

// D. P. Kingma and J. Ba, arXiv:1412.6980, algorithm 1; I. Loshchilov and F. Hutter, arXiv:1711.05101, algorithm 2.
Update Adam::factors(double lr, double number, float scale) const {
  const double rate = lr / (1 - std::pow(beta1, number)), root = std::sqrt(1 - std::pow(beta2, number));
  const double decay = decoupled ? 0 : weight_decay, shrink = decoupled ? 1 - lr * weight_decay : 1;
  const auto rounded = [](double value) { return static_cast<float>(value); };
  return {nullptr,
          nullptr,
          nullptr,
          nullptr,
          scale,
          rounded(decay),
          rounded(shrink),
          rounded(1 - beta1),
          rounded(1 - beta2),
          rounded(rate * root),
          rounded(eps * root)};
}

void TrainingStep::update(double lr) {
  const float scale = clipping();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    Update u = adam_.factors(lr, ++*p.count, scale);
    u.values = p.values, u.average = p.average, u.square = p.square, u.gradient = gradients_[i].data();
    split(p.n, threads_for(4 * p.n), [&](long begin, long end) { layout_.kernels->update(u, begin, end); });
  }
}

}  // namespace unroll
