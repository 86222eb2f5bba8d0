// misses = [
//   "matrix_add.time", "softmax.time", "rmsnorm.time", "layernorm.time", "cross_entropy.time",
//   "matmul.time", "flash_attention.time", "flash_attention_backward.time",
// ]
// One thread for each element, row or query: no tiles, no shared memory, sums in double precision.
//
// Right and slow. A C++ compiler alone takes this file, too; threads then run one after the other
// on the processor, which is how a test tries it.

#include "gpu_kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>

using namespace grader;

namespace {

constexpr int THREADS = 128;

#ifdef __CUDACC__
__device__ int64_t here() { return blockIdx.x * static_cast<int64_t>(THREADS) + threadIdx.x; }

template <class Kernel, class... Arguments>
bool launch(Kernel kernel, int64_t threads, cudaStream_t stream, Arguments... arguments) {
  if (threads == 0) return true;
  unsigned blocks = static_cast<unsigned>((threads + THREADS - 1) / THREADS);
  kernel<<<blocks, THREADS, 0, stream>>>(threads, arguments...);
  return cudaGetLastError() == cudaSuccess;
}
#else
int64_t place = 0;
int64_t here() { return place; }

template <class Kernel, class... Arguments>
bool launch(Kernel kernel, int64_t threads, cudaStream_t, Arguments... arguments) {
  for (place = 0; place < threads; ++place) kernel(threads, arguments...);
  return true;
}
#endif

Status after(bool launched) { return launched ? Status::OK : Status::FAILED; }

// ---------------------------------------------------------------------------------- tensors

__host__ __device__ double read(const Tensor& t, int64_t i) {
  switch (t.dtype) {
    case Dtype::FLOAT32: return static_cast<const float*>(t.data)[i];
    case Dtype::FLOAT16: return __half2float(static_cast<const __half*>(t.data)[i]);
    case Dtype::BFLOAT16: return __bfloat162float(static_cast<const __nv_bfloat16*>(t.data)[i]);
    default: return NAN;
  }
}

__host__ __device__ void write(const Tensor& t, int64_t i, double value) {
  switch (t.dtype) {
    case Dtype::FLOAT32: static_cast<float*>(t.data)[i] = static_cast<float>(value); break;
    case Dtype::FLOAT16: static_cast<__half*>(t.data)[i] = __double2half(value); break;
    case Dtype::BFLOAT16:
      static_cast<__nv_bfloat16*>(t.data)[i] = __double2bfloat16(value);
      break;
    default: break;
  }
}

__host__ __device__ int64_t read_integer(const Tensor& t, int64_t i) {
  return t.dtype == Dtype::INT64 ? static_cast<const int64_t*>(t.data)[i]
                                 : static_cast<const int32_t*>(t.data)[i];
}

// The entry of a vector, a matrix, a stack of stacks of matrices.
__host__ __device__ double at(const Tensor& t, int64_t i) { return read(t, i * t.stride[0]); }
__host__ __device__ double at(const Tensor& t, int64_t i, int64_t j) {
  return read(t, i * t.stride[0] + j * t.stride[1]);
}
__host__ __device__ double at(const Tensor& t, int64_t i, int64_t j, int64_t k, int64_t l) {
  return read(t, i * t.stride[0] + j * t.stride[1] + k * t.stride[2] + l * t.stride[3]);
}

bool is_float(const Tensor& t) {
  return t.dtype == Dtype::FLOAT32 || t.dtype == Dtype::FLOAT16 || t.dtype == Dtype::BFLOAT16;
}
bool is_matrix(const Tensor& t) { return t.rank == 2 && is_float(t); }
bool is_vector(const Tensor& t, int64_t size) {
  return t.rank == 1 && is_float(t) && t.shape[0] == size;
}
bool is_sums(const Tensor& t, int64_t size) {
  return is_vector(t, size) && t.dtype == Dtype::FLOAT32;
}
bool alike(const Tensor& a, const Tensor& b) {
  bool same = a.rank == b.rank && a.dtype == b.dtype;
  for (int axis = 0; same && axis < a.rank; ++axis) same = a.shape[axis] == b.shape[axis];
  return same;
}

// ---------------------------------------------------------------------------------- elements

__global__ void add_element(int64_t threads, Tensor x, Tensor y, Tensor z) {
  int64_t i = here(), columns = x.shape[1];
  if (i >= threads) return;
  int64_t m = i / columns, n = i % columns;
  write(z, i, at(x, m, n) + at(y, m, n));
}

__global__ void softmax_row(int64_t threads, Tensor x, Tensor y) {
  int64_t m = here(), columns = x.shape[1];
  if (m >= threads) return;
  double top = -INFINITY, total = 0;
  for (int64_t n = 0; n < columns; ++n) top = fmax(top, at(x, m, n));
  for (int64_t n = 0; n < columns; ++n) total += exp(at(x, m, n) - top);
  for (int64_t n = 0; n < columns; ++n) write(y, m * columns + n, exp(at(x, m, n) - top) / total);
}

// ------------------------------------------------------------------------------------- norms

struct Norm {
  Tensor x, w, b;
  double eps;
  bool centred;
};

__global__ void norm_row(int64_t threads, Norm norm, Tensor y, Tensor mean_M, Tensor rstd_M) {
  int64_t m = here(), columns = norm.x.shape[1];
  if (m >= threads) return;
  double mean = 0, squares = 0;
  for (int64_t h = 0; norm.centred && h < columns; ++h) mean += at(norm.x, m, h) / columns;
  for (int64_t h = 0; h < columns; ++h) {
    double away = at(norm.x, m, h) - mean;
    squares += away * away / columns;
  }
  double rstd = 1 / sqrt(squares + norm.eps);
  for (int64_t h = 0; h < columns; ++h) {
    double bias = norm.centred ? at(norm.b, h) : 0;
    write(y, m * columns + h, (at(norm.x, m, h) - mean) * rstd * at(norm.w, h) + bias);
  }
  if (norm.centred) write(mean_M, m, mean);
  write(rstd_M, m, rstd);
}

struct NormBackward {
  Tensor dy, x, w, mean, rstd;
  bool centred;
};

__device__ double normal(const NormBackward& norm, int64_t m, int64_t h) {
  return (at(norm.x, m, h) - (norm.centred ? at(norm.mean, m) : 0)) * at(norm.rstd, m);
}

__global__ void norm_dx_row(int64_t threads, NormBackward norm, Tensor dx) {
  int64_t m = here(), columns = norm.x.shape[1];
  if (m >= threads) return;
  double along = 0, level = 0;
  for (int64_t h = 0; h < columns; ++h) {
    double g = at(norm.dy, m, h) * at(norm.w, h);
    along += g * normal(norm, m, h) / columns;
    if (norm.centred) level += g / columns;
  }
  for (int64_t h = 0; h < columns; ++h) {
    double g = at(norm.dy, m, h) * at(norm.w, h);
    write(dx, m * columns + h, at(norm.rstd, m) * (g - level - normal(norm, m, h) * along));
  }
}

__global__ void norm_dw_column(int64_t threads, NormBackward norm, Tensor dw, Tensor db) {
  int64_t h = here(), rows = norm.x.shape[0];
  if (h >= threads) return;
  double weight = 0, bias = 0;
  for (int64_t m = 0; m < rows; ++m) {
    weight += at(norm.dy, m, h) * normal(norm, m, h);
    bias += at(norm.dy, m, h);
  }
  write(dw, h, weight);
  if (norm.centred) write(db, h, bias);
}

Status norm_forward(const Norm& norm, const Tensor& y, const Tensor& mean, const Tensor& rstd,
                    cudaStream_t stream) {
  bool fits = is_matrix(norm.x) && norm.x.shape[1] > 0 && is_vector(norm.w, norm.x.shape[1]) &&
              is_vector(norm.b, norm.x.shape[1]) && norm.eps >= 0;
  if (!fits) return Status::BAD_INPUT;
  return after(launch(norm_row, norm.x.shape[0], stream, norm, y, mean, rstd));
}

Status norm_backward(const NormBackward& norm, const Tensor& dx, const Tensor& dw, const Tensor& db,
                     cudaStream_t stream) {
  bool fits = is_matrix(norm.x) && alike(norm.dy, norm.x) && is_vector(norm.w, norm.x.shape[1]) &&
              is_sums(norm.mean, norm.x.shape[0]) && is_sums(norm.rstd, norm.x.shape[0]);
  if (!fits) return Status::BAD_INPUT;
  return after(launch(norm_dx_row, norm.x.shape[0], stream, norm, dx) &&
               launch(norm_dw_column, norm.x.shape[1], stream, norm, dw, db));
}

// -------------------------------------------------------------------------------------- loss

struct Loss {
  Tensor x, target;
  int64_t ignore;
};

__device__ int64_t kept_rows(const Loss& loss) {
  int64_t kept = 0;
  for (int64_t m = 0; m < loss.x.shape[0]; ++m) {
    kept += read_integer(loss.target, m * loss.target.stride[0]) != loss.ignore;
  }
  return kept;
}

__device__ double log_sum(const Loss& loss, int64_t m) {
  double top = -INFINITY, total = 0;
  for (int64_t v = 0; v < loss.x.shape[1]; ++v) top = fmax(top, at(loss.x, m, v));
  for (int64_t v = 0; v < loss.x.shape[1]; ++v) total += exp(at(loss.x, m, v) - top);
  return top + log(total);
}

__global__ void loss_row(int64_t threads, Loss loss, Tensor dx) {
  int64_t m = here(), columns = loss.x.shape[1];
  if (m >= threads) return;
  int64_t label = read_integer(loss.target, m * loss.target.stride[0]);
  bool keeps = label != loss.ignore;
  double kept = static_cast<double>(kept_rows(loss)), sum = keeps ? log_sum(loss, m) : 0;
  for (int64_t v = 0; v < columns; ++v) {
    double slope = keeps ? (exp(at(loss.x, m, v) - sum) - (v == label)) / kept : 0;
    write(dx, m * columns + v, slope);
  }
}

__global__ void loss_mean(int64_t threads, Loss loss, Tensor mean) {
  if (here() >= threads) return;
  double total = 0;
  for (int64_t m = 0; m < loss.x.shape[0]; ++m) {
    int64_t label = read_integer(loss.target, m * loss.target.stride[0]);
    if (label != loss.ignore) total += log_sum(loss, m) - at(loss.x, m, label);
  }
  write(mean, 0, total / static_cast<double>(kept_rows(loss)));  // 0 / 0 if none is kept
}

// ----------------------------------------------------------------------------------- product

__device__ double activated(double x, Activation activation) {
  if (activation == Activation::GELU) return x * (1 + erf(x * 0.70710678118654752)) / 2;
  if (activation == Activation::NONE) return x;
  return x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))) / 2;
}

__global__ void product_element(int64_t threads, Tensor a, Tensor b, Tensor bias, bool has_bias,
                                Activation activation, Tensor c) {
  int64_t i = here(), columns = b.shape[1];
  if (i >= threads) return;
  int64_t m = i / columns, n = i % columns;
  double sum = has_bias ? at(bias, n) : 0;
  for (int64_t k = 0; k < a.shape[1]; ++k) sum += at(a, m, k) * at(b, k, n);
  write(c, i, activated(sum, activation));
}

// --------------------------------------------------------------------------------- attention

struct Heads {
  Tensor q, k, v;
  double scale;
  bool causal;

  __host__ __device__ int64_t H() const { return q.shape[1]; }
  __host__ __device__ int64_t T() const { return q.shape[2]; }
  __host__ __device__ int64_t S() const { return k.shape[2]; }
  __host__ __device__ int64_t D() const { return q.shape[3]; }
  __host__ __device__ int64_t group(int64_t h) const { return h / (H() / k.shape[1]); }
  __host__ __device__ bool sees(int64_t t, int64_t s) const {
    return !causal || s <= t + S() - T();
  }
};

bool fits(const Heads& heads) {
  const Tensor &q = heads.q, &k = heads.k;
  return q.rank == 4 && k.rank == 4 && alike(k, heads.v) && is_float(q) && q.dtype == k.dtype &&
         q.shape[0] == k.shape[0] && q.shape[3] == k.shape[3] && q.shape[3] >= 1 &&
         q.shape[3] <= 128 && k.shape[1] > 0 && q.shape[1] % k.shape[1] == 0;
}

Heads make_heads(const Tensor& q, const Tensor& k, const Tensor& v, const double* scale,
                 bool causal) {
  double width = q.rank == 4 ? static_cast<double>(q.shape[3]) : 1;
  return {q, k, v, scale ? *scale : 1 / sqrt(width), causal};
}

__device__ double score(const Heads& heads, int64_t b, int64_t h, int64_t t, int64_t s) {
  double sum = 0;
  for (int64_t d = 0; d < heads.D(); ++d) {
    sum += at(heads.q, b, h, t, d) * at(heads.k, b, heads.group(h), s, d);
  }
  return sum * heads.scale;
}

__global__ void attend_query(int64_t threads, Heads heads, Tensor out, Tensor lse) {
  int64_t row = here();
  if (row >= threads) return;
  int64_t t = row % heads.T(), h = row / heads.T() % heads.H(), b = row / heads.T() / heads.H();
  double top = -INFINITY, total = 0, sums[128] = {};
  for (int64_t s = 0; s < heads.S(); ++s) {
    if (!heads.sees(t, s)) continue;
    double x = score(heads, b, h, t, s), raised = fmax(top, x), fade = exp(top - raised);
    double weight = exp(x - raised);
    total = total * fade + weight;
    for (int64_t d = 0; d < heads.D(); ++d) {
      sums[d] = sums[d] * fade + weight * at(heads.v, b, heads.group(h), s, d);
    }
    top = raised;
  }
  for (int64_t d = 0; d < heads.D(); ++d) {
    write(out, row * heads.D() + d, total > 0 ? sums[d] / total : 0);
  }
  write(lse, row, total > 0 ? top + log(total) : -INFINITY);
}

struct Slopes {
  Heads heads;
  Tensor d_out, out, lse;
};

// What a score adds to the loss, and its weight: both 0 where a query sees no key.
struct Pair {
  double weight, slope;
};

__device__ Pair pair(const Slopes& given, int64_t b, int64_t h, int64_t t, int64_t s) {
  const Heads& heads = given.heads;
  int64_t row = b * given.lse.stride[0] + h * given.lse.stride[1] + t * given.lse.stride[2];
  double sum = read(given.lse, row), along = 0;
  if (!heads.sees(t, s) || sum == -INFINITY) return {0, 0};
  for (int64_t d = 0; d < heads.D(); ++d) {
    double value = at(heads.v, b, heads.group(h), s, d);
    along += at(given.d_out, b, h, t, d) * (value - at(given.out, b, h, t, d));
  }
  double weight = exp(score(heads, b, h, t, s) - sum);
  return {weight, weight * along * heads.scale};
}

__global__ void query_slope(int64_t threads, Slopes given, Tensor dq) {
  const Heads& heads = given.heads;
  int64_t row = here();
  if (row >= threads) return;
  int64_t t = row % heads.T(), h = row / heads.T() % heads.H(), b = row / heads.T() / heads.H();
  double sums[128] = {};
  for (int64_t s = 0; s < heads.S(); ++s) {
    double slope = pair(given, b, h, t, s).slope;
    for (int64_t d = 0; d < heads.D(); ++d) sums[d] += slope * at(heads.k, b, heads.group(h), s, d);
  }
  for (int64_t d = 0; d < heads.D(); ++d) write(dq, row * heads.D() + d, sums[d]);
}

__global__ void key_slope(int64_t threads, Slopes given, Tensor dk, Tensor dv) {
  const Heads& heads = given.heads;
  int64_t row = here(), G = heads.k.shape[1];
  if (row >= threads) return;
  int64_t s = row % heads.S(), g = row / heads.S() % G, b = row / heads.S() / G;
  double keys[128] = {}, values[128] = {};
  for (int64_t h = g * (heads.H() / G); h < (g + 1) * (heads.H() / G); ++h) {
    for (int64_t t = 0; t < heads.T(); ++t) {
      Pair one = pair(given, b, h, t, s);
      for (int64_t d = 0; d < heads.D(); ++d) {
        keys[d] += one.slope * at(heads.q, b, h, t, d);
        values[d] += one.weight * at(given.d_out, b, h, t, d);
      }
    }
  }
  for (int64_t d = 0; d < heads.D(); ++d) {
    write(dk, row * heads.D() + d, keys[d]);
    write(dv, row * heads.D() + d, values[d]);
  }
}

}  // namespace

// --------------------------------------------------------------------------------- launchers

Status matrix_add(const Tensor& x_MN, const Tensor& y_MN, const Tensor& z_MN, cudaStream_t stream) {
  if (!is_matrix(x_MN) || !alike(x_MN, y_MN)) return Status::BAD_INPUT;
  return after(launch(add_element, x_MN.shape[0] * x_MN.shape[1], stream, x_MN, y_MN, z_MN));
}

Status softmax(const Tensor& x_MN, const Tensor& y_MN, cudaStream_t stream) {
  if (!is_matrix(x_MN) || x_MN.shape[1] == 0) return Status::BAD_INPUT;
  return after(launch(softmax_row, x_MN.shape[0], stream, x_MN, y_MN));
}

Status rmsnorm(const Tensor& x_MH, const Tensor& w_H, double eps, const Tensor& y_MH,
               const Tensor& rstd_M, cudaStream_t stream) {
  return norm_forward({x_MH, w_H, w_H, eps, false}, y_MH, rstd_M, rstd_M, stream);
}

Status rmsnorm_backward(const Tensor& dy_MH, const Tensor& x_MH, const Tensor& w_H,
                        const Tensor& rstd_M, const Tensor& dx_MH, const Tensor& dw_H,
                        cudaStream_t stream) {
  return norm_backward({dy_MH, x_MH, w_H, rstd_M, rstd_M, false}, dx_MH, dw_H, dw_H, stream);
}

Status layernorm(const Tensor& x_MH, const Tensor& w_H, const Tensor& b_H, double eps,
                 const Tensor& y_MH, const Tensor& mean_M, const Tensor& rstd_M,
                 cudaStream_t stream) {
  return norm_forward({x_MH, w_H, b_H, eps, true}, y_MH, mean_M, rstd_M, stream);
}

Status layernorm_backward(const Tensor& dy_MH, const Tensor& x_MH, const Tensor& w_H,
                          const Tensor& mean_M, const Tensor& rstd_M, const Tensor& dx_MH,
                          const Tensor& dw_H, const Tensor& db_H, cudaStream_t stream) {
  return norm_backward({dy_MH, x_MH, w_H, mean_M, rstd_M, true}, dx_MH, dw_H, db_H, stream);
}

Status cross_entropy(const Tensor& x_MV, const Tensor& target_M, int64_t ignore_index,
                     const Tensor& loss, const Tensor& dx_MV, cudaStream_t stream) {
  bool integers = target_M.dtype == Dtype::INT32 || target_M.dtype == Dtype::INT64;
  bool fit = is_matrix(x_MV) && x_MV.shape[1] > 0 && target_M.rank == 1 && integers &&
             target_M.shape[0] == x_MV.shape[0];
  if (!fit) return Status::BAD_INPUT;
  Loss given = {x_MV, target_M, ignore_index};
  return after(launch(loss_row, x_MV.shape[0], stream, given, dx_MV) &&
               launch(loss_mean, 1, stream, given, loss));
}

Status matmul(const Tensor& a_MK, const Tensor& b_KN, const Tensor* bias_N, Activation activation,
              const Tensor& c_MN, cudaStream_t stream) {
  bool fit = is_matrix(a_MK) && is_matrix(b_KN) && a_MK.dtype == b_KN.dtype &&
             a_MK.shape[1] == b_KN.shape[0] && static_cast<int32_t>(activation) >= 0 &&
             (bias_N == nullptr || is_vector(*bias_N, b_KN.shape[1]));
  if (!fit) return Status::BAD_INPUT;
  Tensor bias = bias_N ? *bias_N : c_MN;
  return after(launch(product_element, a_MK.shape[0] * b_KN.shape[1], stream, a_MK, b_KN, bias,
                      bias_N != nullptr, activation, c_MN));
}

Status flash_attention(const Tensor& q_BHTD, const Tensor& k_BGSD, const Tensor& v_BGSD,
                       const double* scale, bool causal, const Tensor& out_BHTD,
                       const Tensor& lse_BHT, cudaStream_t stream) {
  Heads heads = make_heads(q_BHTD, k_BGSD, v_BGSD, scale, causal);
  if (!fits(heads)) return Status::BAD_INPUT;
  int64_t queries = q_BHTD.shape[0] * heads.H() * heads.T();
  return after(launch(attend_query, queries, stream, heads, out_BHTD, lse_BHT));
}

Status flash_attention_backward(const Tensor& do_BHTD, const Tensor& q_BHTD, const Tensor& k_BGSD,
                                const Tensor& v_BGSD, const Tensor& out_BHTD, const Tensor& lse_BHT,
                                const double* scale, bool causal, const Tensor& dq_BHTD,
                                const Tensor& dk_BGSD, const Tensor& dv_BGSD, cudaStream_t stream) {
  Heads heads = make_heads(q_BHTD, k_BGSD, v_BGSD, scale, causal);
  bool fit = fits(heads) && alike(do_BHTD, q_BHTD) && alike(out_BHTD, q_BHTD) &&
             lse_BHT.rank == 3 && lse_BHT.dtype == Dtype::FLOAT32;
  for (int axis = 0; fit && axis < 3; ++axis) fit = lse_BHT.shape[axis] == q_BHTD.shape[axis];
  if (!fit) return Status::BAD_INPUT;
  Slopes given = {heads, do_BHTD, out_BHTD, lse_BHT};
  int64_t queries = q_BHTD.shape[0] * heads.H() * heads.T();
  int64_t keys = k_BGSD.shape[0] * k_BGSD.shape[1] * heads.S();
  return after(launch(query_slope, queries, stream, given, dq_BHTD) &&
               launch(key_slope, keys, stream, given, dk_BGSD, dv_BGSD));
}
