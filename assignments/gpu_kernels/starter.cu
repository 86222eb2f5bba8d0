// grader: gpu_kernels
// GPU kernels, in CUDA C++. Made from starter.py; README.md says how this is compiled and called.
//
// The texts are those of the functions in Python that your launchers stand for: "return" is what
// the last tensors before `stream` get, "raises ValueError" is `return Status::BAD_INPUT`, None is
// a null pointer, and M, N, ... are the sizes in `shape`. The rules that hold everywhere, dtypes
// among them, are in README.md.
//
// To begin with a problem, delete the lines #if 0 and #endif around it. What stays between them
// counts as missing and costs only its own points.

#include "gpu_kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

using namespace grader;

// -------------------------------------------------------------------------------------------------
// 1 · matrix_add: The first kernel

// Return `x + y`; M or N may be 0.
//
// Offsets may exceed 2³¹ elements.
//
// Raises:
//     ValueError: unless both are matrices of the same shape and dtype.
#if 0
Status matrix_add(
    const Tensor& x_MN,
    const Tensor& y_MN,
    const Tensor& z_MN,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif

// -------------------------------------------------------------------------------------------------
// 2 · softmax: Softmax over the last dimension

// Return the softmax of each row, in the dtype of x; M may be 0.
//
// Entries may be −inf (their probability is 0) and finite ones as large as their dtype allows; a
// row of nothing but −inf is NaN in all of its entries.
//
// Raises:
//     ValueError: unless x is a matrix of at least one column and of a dtype from the list above.
#if 0
Status softmax(
    const Tensor& x_MN,
    const Tensor& y_MN,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif

// -------------------------------------------------------------------------------------------------
// 3 · rmsnorm: RMSNorm, forward and backward

// Return the normalised rows, in the dtype of x, and `rstd_M` in float32; M may be 0.
//
// Args:
//     x_MH: H from 1 to 8192; other widths are not graded.
//     w_H: one weight per column; its dtype may differ from that of x.
//     eps: inside the square root; 0 is allowed.
//
// Raises:
//     ValueError: unless x is a matrix, w a vector of its width, and eps at least 0.
#if 0
Status rmsnorm(
    const Tensor& x_MH,
    const Tensor& w_H,
    double eps,
    const Tensor& y_MH,
    const Tensor& rstd_M,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif

// Return the gradients dx, in the dtype of x, and dw, in the dtype of w.
//
// With x̂ = x · rstd and g = dy · w: `dx = rstd · (g − x̂ · mean(g · x̂))` and `dw = Σ dy · x̂`
// over all rows, added in float32; with M = 0, dw is 0.
//
// Args:
//     dy_MH: gradient of y, shape and dtype of x.
//     x_MH: as in the forward pass. A backward pass with H = 1 is not graded: dx is rounding then.
//     w_H: as in the forward pass; its dtype may differ from that of x here, too.
//     rstd_M: float32, from the forward pass: eps is in it. Any stride, as all inputs.
//
// Raises:
//     ValueError: unless dy is like x, w a vector of its width, rstd a float32 vector of M.
#if 0
Status rmsnorm_backward(
    const Tensor& dy_MH,
    const Tensor& x_MH,
    const Tensor& w_H,
    const Tensor& rstd_M,
    const Tensor& dx_MH,
    const Tensor& dw_H,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif

// -------------------------------------------------------------------------------------------------
// 4 · layernorm: LayerNorm, forward and backward

// Return the normalised rows, in the dtype of x, and `mean_M` and `rstd_M` in float32.
//
// A mean that is many thousand times the deviation must not spoil the variance.
//
// Args:
//     x_MH: H from 1 to 8192, other widths are not graded; M may be 0.
//     w_H: one weight per column; its dtype may differ from that of x.
//     b_H: one bias per column; its dtype may differ from that of x.
//     eps: inside the square root; 0 is allowed.
//
// Raises:
//     ValueError: unless x is a matrix, w and b vectors of its width, and eps at least 0.
#if 0
Status layernorm(
    const Tensor& x_MH,
    const Tensor& w_H,
    const Tensor& b_H,
    double eps,
    const Tensor& y_MH,
    const Tensor& mean_M,
    const Tensor& rstd_M,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif

// Return the gradients dx, in the dtype of x, and dw and db, in the dtype of w.
//
// With x̂ = (x − mean) · rstd and g = dy · w:
// `dx = rstd · (g − mean(g) − x̂ · mean(g · x̂))`; `dw = Σ dy · x̂` and `db = Σ dy` over all rows,
// added in float32; with M = 0, dw and db are 0.
//
// Args:
//     dy_MH: gradient of y, shape and dtype of x.
//     x_MH: as in the forward pass. A backward pass with H = 1 is not graded.
//     w_H: as in the forward pass; its dtype may differ from that of x here, too.
//     mean_M: float32, from the forward pass; any stride, as all inputs.
//     rstd_M: float32, from the forward pass: eps is in it. Any stride, as all inputs.
//
// Raises:
//     ValueError: unless dy is like x, w a vector of its width, mean and rstd float32 vectors
//         of M.
#if 0
Status layernorm_backward(
    const Tensor& dy_MH,
    const Tensor& x_MH,
    const Tensor& w_H,
    const Tensor& mean_M,
    const Tensor& rstd_M,
    const Tensor& dx_MH,
    const Tensor& dw_H,
    const Tensor& db_H,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif

// -------------------------------------------------------------------------------------------------
// 5 · cross_entropy: Cross-entropy with its gradient

// Return the mean loss, a float32 scalar, and its gradient with respect to x, in x's dtype.
//
// The loss of a row is `log Σ exp(x) − x[target]`; the mean is over the rows whose target is not
// `ignore_index`. Such a row has a gradient of 0, whatever it holds (NaN, perhaps). If all rows
// are ignored, the loss is NaN and the gradient 0.
//
// Args:
//     x_MV: logits; M = 0 is not graded. Entries may be −inf, but not at the target of a row
//         that counts.
//     target_M: int32 or int64, each from 0 to V − 1 or `ignore_index`; others are not graded.
//     ignore_index: any integer of 64 bits, also one from 0 to V − 1, which then is no target.
//
// Raises:
//     ValueError: unless x is a matrix of at least one column, target an int32 or int64 vector of
//         M.
#if 0
Status cross_entropy(
    const Tensor& x_MV,
    const Tensor& target_M,
    int64_t ignore_index,
    const Tensor& loss,
    const Tensor& dx_MV,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif

// -------------------------------------------------------------------------------------------------
// 6 · matmul: A product with its epilogue

// Return `activation(a @ b + bias)` in the dtype of a, accumulated in float32.
//
// M, N or K may be 0; with K = 0 the product is 0, and bias and activation act on it: each row of
// the result is `activation(bias)`.
//
// Args:
//     a_MK: any strides.
//     b_KN: the dtype of a, any strides.
//     bias_N: added to each row; its dtype may differ from that of a; None: no bias.
//     activation: "none"; "gelu", x · Φ(x) with Φ(x) = (1 + erf(x/√2)) / 2; or "gelu_tanh",
//         x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2.
//
// Raises:
//     ValueError: unless a and b are matrices of one dtype with the same K, bias a vector of N,
//         and activation one of the three.
#if 0
Status matmul(
    const Tensor& a_MK,
    const Tensor& b_KN,
    const Tensor* bias_N,
    Activation activation,
    const Tensor& c_MN,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif

// -------------------------------------------------------------------------------------------------
// 7 · flash_attention: Attention in one pass over the keys

// Return `softmax(scale · q kᵀ) v`, like q, and the log-sum-exp of the scores, `lse_BHT`.
//
// The log-sum-exp is natural, of the scaled scores that a query sees, in float32. A query that
// sees no key has an output of 0 and a log-sum-exp of −inf.
//
// Args:
//     q_BHTD: T at least 1, D from 1 to 128, not only powers of two.
//     k_BGSD: S at least 1; H is a multiple of G, and query head h reads key/value head
//         h // (H / G): with H = 6 and G = 2, heads 0, 1, 2 read head 0.
//     v_BGSD: like k.
//     scale: any finite number, also a negative one; 0 is a scale like any other; None: 1/√D.
//     causal: query i sees key j only if `j <= i + S − T`: the last query sees all keys.
//
// Raises:
//     ValueError: unless all three have rank 4, one dtype, one B and one D, k and v one shape,
//         1 <= D <= 128, and H is a multiple of G.
#if 0
Status flash_attention(
    const Tensor& q_BHTD,
    const Tensor& k_BGSD,
    const Tensor& v_BGSD,
    const double* scale,
    bool causal,
    const Tensor& out_BHTD,
    const Tensor& lse_BHT,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif

// -------------------------------------------------------------------------------------------------
// 8 · flash_attention_backward: The backward pass of attention

// Return the gradients dq, dk and dv, each with shape and dtype of its tensor.
//
// A query that saw no key has a log-sum-exp of −inf and adds nothing to any gradient. The
// gradient of a key/value head is the sum over all query heads that read it.
//
// Args:
//     do_BHTD: gradient of the output, like q; all of its entries are finite.
//     qkv: q, k and v of the forward pass.
//     forward: its output, like q, and its log-sum-exp, float32 [B, H, T].
//     scale: as in the forward pass.
//     causal: as in the forward pass.
//
// Raises:
//     ValueError: if q, k and v do not fit as in the forward pass, do or the output is not like q,
//         or the log-sum-exp is not float32 [B, H, T].
#if 0
Status flash_attention_backward(
    const Tensor& do_BHTD,
    const Tensor& q_BHTD,
    const Tensor& k_BGSD,
    const Tensor& v_BGSD,
    const Tensor& out_BHTD,
    const Tensor& lse_BHT,
    const double* scale,
    bool causal,
    const Tensor& dq_BHTD,
    const Tensor& dk_BGSD,
    const Tensor& dv_BGSD,
    cudaStream_t stream) {
  return Status::NOT_IMPLEMENTED;
}
#endif
