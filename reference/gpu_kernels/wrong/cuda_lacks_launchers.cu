// caught_by = "softmax.rows"
// cause = "missing"
// also_fails = [
//   "softmax.*", "rmsnorm.*", "layernorm.*", "cross_entropy.*", "matmul.*", "flash_attention.*",
//   "flash_attention_backward.*", "matrix_add.*",
// ]
// Compiles, and defines launchers that nobody asks for.

#include "gpu_kernels.h"

namespace mine {

grader::Status softmax(const grader::Tensor&, const grader::Tensor&, cudaStream_t) {
  return grader::Status::OK;
}

}  // namespace mine

static grader::Status rmsnorm_in_a_drawer(cudaStream_t) { return grader::Status::OK; }
