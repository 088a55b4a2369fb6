// Programs of unroll/compiler/program.py, read from nested lists of numbers. No Python.
#pragma once

#include <memory>
#include <vector>

#include "program.h"

namespace unroll {

// A number, or a list: a Program of unroll/compiler/program.py is lists in lists. None is an empty list.
struct Nested {
  bool is_list;
  double number;
  std::vector<Nested> items;
};

// A program, with the memory of its lists. Everything that the machine takes for granted is checked when it is read.
class ReadProgram : public program::Program {
 public:
  // Throws std::invalid_argument for a program that the machine cannot carry out.
  explicit ReadProgram(const Nested& fields);

 private:
  friend class Reader;
  std::vector<std::shared_ptr<const void>> lists_;
};

}  // namespace unroll
