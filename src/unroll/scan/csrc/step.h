// A whole training step of a single-layer classifier with readout "last" in one call: batch, forward, loss, backward, clipping,
// Adam. In torch, these are about a hundred small operations around the scans.
#pragma once

#include <utility>
#include <vector>

#include "pack.h"
#include "passes.h"

namespace unroll {

// The unscaled data set; a batch has some of its sequences, scaled: (x - mean) * scale, feature by feature.
struct Data {
  const std::uint8_t* bytes;  // (steps of all, inputs); or null, and floats
  const float* floats;
  const std::int64_t* y;           // (all)
  const std::int64_t* starts;      // (all), the first step of each
  const std::int64_t* lengths;     // (all); null: all full
  std::vector<float> mean, scale;  // (inputs)
  std::vector<float> weights;      // (classes), by which a sequence's loss is multiplied; none: 1
  float smoothing;                 // fraction of each target that is spread over all classes
};

// A parameter and its state in Adam. `count`: steps taken so far.
struct Parameter {
  float *values, *average, *square, *count;
  long n;
};

struct Adam {
  bool decoupled;  // AdamW: weight decay separate from the gradient
  double beta1, beta2, eps, weight_decay;
  double clip;  // largest norm of all gradients; 0: no limit

  // The factors of the step of this number, from 1, with the gradient times `scale`; what it works on is left out.
  Update factors(double lr, double number, float scale) const;
};

class TrainingStep {
 public:
  // layout: of the longest sequence, except for the batch. Throws std::invalid_argument if sizes do not fit, as does use().
  TrainingStep(const Layout& layout, long classes, const Data& data);

  // parameters: the program's tensors, the head's weight (classes, hidden) and bias (classes).
  void use(const std::vector<Parameter>& parameters, const Adam& adam);

  // Take steps on the n sequences in `order`, `batch` of them per step, each step with its own rate; no sequence is longer than
  // the time steps of its batch. Return the sum of each step's losses, and how many sequences were classified correctly.
  std::pair<std::vector<double>, long> run(const std::int64_t* order, long n, long batch,
                                           const std::vector<long>& times, int threads,
                                           const std::vector<double>& rates);

 private:
  std::pair<double, long> step(const std::int64_t* order, long n, long time, double lr);
  void gather(const std::int64_t* order);
  std::pair<double, long> loss();
  void head_back();
  float clipping();
  void update(double lr);
  int threads_for(long products) const { return products > 1 << 20 ? layout_.threads : 1; }

  const Parameter* head() const { return &parameters_[tensors_.size()]; }  // its weight and bias
  long hidden() const { return layout_.program->widths.items[0]; }

  Layout layout_;
  long classes_, whole_;  // time steps of the longest sequence
  Data data_;
  std::vector<Parameter> parameters_;
  Adam adam_;
  std::vector<Numbers> gradients_;
  std::vector<std::int64_t> starts_, lengths_, y_;
  std::vector<Numbers> states_, ends_, d_ends_;  // for each part of the state
  Tensors tensors_;
  Parts tensor_gradients_;
  Numbers steps_, kept_, logits_, packed_;
};

}  // namespace unroll
