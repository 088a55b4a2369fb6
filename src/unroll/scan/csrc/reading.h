// Programs of unroll/compiler/program.py, read from Python.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <vector>

#include "program.h"

namespace unroll {

// A program, with the memory of its lists. Everything that the machine takes for granted is checked when it is read.
class ReadProgram : public program::Program {
 public:
  // Raises ValueError for a program that the machine cannot carry out.
  explicit ReadProgram(const nanobind::tuple& fields);

 private:
  friend class Reader;
  std::vector<std::shared_ptr<const void>> lists_;
};

}  // namespace unroll
