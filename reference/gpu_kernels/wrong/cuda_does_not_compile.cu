// caught_by = "matrix_add.shapes"
// cause = "crash"
// also_fails = ["*"]
// A semicolon is missing: no problem can be run, and the message names the line.

#include "gpu_kernels.h"

using namespace grader;

Status matrix_add(const Tensor& x_MN, const Tensor& y_MN, const Tensor& z_MN, cudaStream_t stream) {
  return Status::OK
}
