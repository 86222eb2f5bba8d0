// caught_by = "matrix_add.strides"
// cause = "wrong_value"
// also_fails = [
//   "softmax.*", "rmsnorm.*", "layernorm.*", "cross_entropy.*", "matmul.*", "flash_attention.*",
//   "flash_attention_backward.*",
// ]
// Views are read as if they were dense, as in add_assumes_contiguous.py; nothing else is there. Only
// a device can tell.

#include "gpu_kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

using namespace grader;

template <class Number>
__global__ void add(const Number* x, const Number* y, Number* z, int64_t size) {
  int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i < size) z[i] = static_cast<Number>(static_cast<float>(x[i]) + static_cast<float>(y[i]));
}

template <class Number>
Status launch(const Tensor& x, const Tensor& y, const Tensor& z, cudaStream_t stream) {
  int64_t size = x.shape[0] * x.shape[1];
  if (size == 0) return Status::OK;
  add<<<static_cast<unsigned>((size + 255) / 256), 256, 0, stream>>>(
      static_cast<const Number*>(x.data), static_cast<const Number*>(y.data),
      static_cast<Number*>(z.data), size);
  return cudaGetLastError() == cudaSuccess ? Status::OK : Status::FAILED;
}

Status matrix_add(const Tensor& x_MN, const Tensor& y_MN, const Tensor& z_MN, cudaStream_t stream) {
  bool fits = x_MN.rank == 2 && y_MN.rank == 2 && x_MN.dtype == y_MN.dtype &&
              x_MN.shape[0] == y_MN.shape[0] && x_MN.shape[1] == y_MN.shape[1];
  if (!fits) return Status::BAD_INPUT;
  switch (x_MN.dtype) {
    case Dtype::FLOAT32: return launch<float>(x_MN, y_MN, z_MN, stream);
    case Dtype::FLOAT16: return launch<__half>(x_MN, y_MN, z_MN, stream);
    case Dtype::BFLOAT16: return launch<__nv_bfloat16>(x_MN, y_MN, z_MN, stream);
    default: return Status::BAD_INPUT;
  }
}
