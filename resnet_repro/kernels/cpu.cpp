// Batch norm, addition and ReLU on a CPU: y = relu((x - mean) / std * weight + bias + added).
//
// All maps are channels-last, that is [groups * rows][channels] with rows = images of a group * H * W.
// The rows of a group are cut into chunks of a fixed size, so that the result does not depend on the
// number of threads. Sums are of float32 over BLOCK rows, and of float64 over those.
//
// What limits the speed is the way to memory: a group's second pass follows its first at once, over
// the same chunks in the same threads, the last chunk first, as that is still in the cache.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>

#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>

namespace {

using Vec = at::vec::Vectorized<float>;
constexpr int64_t W = Vec::size();
constexpr int64_t CHUNK = 65536;  // elements
constexpr int64_t BLOCK = 512;    // rows

template <typename T>
Vec load(const T* from, int64_t count) {
  if constexpr (std::is_same_v<T, float>) {
    return count == W ? Vec::loadu(from) : Vec::loadu(from, count);
  } else if (count == W) {
    Vec values;
    at::vec::load_fp32_from_bf16(from, values);
    return values;
  } else {
    float values[W] = {};
    for (int64_t i = 0; i < count; ++i) values[i] = float(from[i]);
    return Vec::loadu(values);
  }
}

template <typename T>
void store(T* to, const Vec& values, int64_t count) {
  if constexpr (std::is_same_v<T, float>) {
    values.store(to, count);
  } else {
    at::vec::convert<T>(values).store(to, count);
  }
}

struct Shape {
  int64_t groups, rows, channels;  // rows of a group
  int64_t chunk_rows() const { return std::max<int64_t>(1, CHUNK / channels); }
  int64_t chunks() const { return (rows + chunk_rows() - 1) / chunk_rows(); }
};

struct Chunk {
  int64_t number, begin, end;  // its number in the group, and its rows within the whole
};

enum class Order { first_to_last, last_to_first };

template <typename F>
void for_each_chunk(const Shape& shape, int64_t group, Order order, const F& pass) {
  const int64_t first = group * shape.rows, size = shape.chunk_rows();
  at::parallel_for(0, shape.chunks(), 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const int64_t number = order == Order::first_to_last ? i : to - 1 - (i - from);
      const int64_t begin = first + number * size;
      pass(Chunk{number, begin, std::min(begin + size, first + shape.rows)});
    }
  });
}

// Call tile(first channel, number of vectors, number of rows at once, values in the last vector):
// as many channels as fit in registers, and several rows of few channels, for independent sums.
template <typename F>
void for_each_tile(int64_t channels, const F& tile) {
  using std::integral_constant;
  int64_t c = 0;
  for (; c + 4 * W <= channels; c += 4 * W)
    tile(c, integral_constant<int, 4>(), integral_constant<int, 1>(), W);
  for (; c + 2 * W <= channels; c += 2 * W)
    tile(c, integral_constant<int, 2>(), integral_constant<int, 2>(), W);
  for (; c < channels; c += W)
    tile(c, integral_constant<int, 1>(), integral_constant<int, 4>(), std::min(W, channels - c));
}

// Sum two values of each row and channel over the rows of a chunk, into sums[2][channels].
// pair(row, channel, vector's number in the tile, count) returns both values.
template <int V, int R, typename F>
void sum_rows(const Chunk& chunk, int64_t c, int64_t count, int64_t channels, double* sums, const F& pair) {
  float buffer[W];
  for (int64_t block = chunk.begin; block < chunk.end; block += BLOCK) {
    const int64_t end = std::min(block + BLOCK, chunk.end);
    Vec first[R][V], second[R][V];
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) first[r][v] = second[r][v] = Vec(0.f);
    int64_t row = block;
    for (; row + R <= end; row += R) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) pair(row + r, c + v * W, v, count, first[r][v], second[r][v]);
    }
    for (; row < end; ++row)
      for (int v = 0; v < V; ++v) pair(row, c + v * W, v, count, first[0][v], second[0][v]);
    for (int v = 0; v < V; ++v)
      for (int kind = 0; kind < 2; ++kind) {
        Vec total = kind ? second[0][v] : first[0][v];
        for (int r = 1; r < R; ++r) total = total + (kind ? second[r][v] : first[r][v]);
        total.store(buffer);
        double* to = sums + kind * channels + c + v * W;
        for (int64_t i = 0; i < count; ++i) to[i] += buffer[i];
      }
  }
}

// Return the sums of a group, [2][channels], of the pairs that pair(row, channel, ...) gives; for each
// tile, start(first channel, its vectors, count) is called before.
template <typename S, typename F>
std::unique_ptr<double[]> sums_of_group(const Shape& shape, int64_t group, const S& start, const F& pair) {
  const int64_t channels = shape.channels, each = 2 * channels;
  std::unique_ptr<double[]> sums(new double[shape.chunks() * each]());
  for_each_chunk(shape, group, Order::first_to_last, [&](const Chunk& chunk) {
    for_each_tile(channels, [&](int64_t c, auto vectors, auto rows, int64_t count) {
      constexpr int V = decltype(vectors)::value, R = decltype(rows)::value;
      Vec constants[V];
      for (int v = 0; v < V; ++v) constants[v] = start(c + v * W, count);
      sum_rows<V, R>(chunk, c, count, channels, sums.get() + chunk.number * each,
                     [&](int64_t row, int64_t at, int v, int64_t count, Vec& first, Vec& second) {
                       pair(row * channels + at, count, constants[v], first, second);
                     });
    });
  });
  for (int64_t chunk = 1; chunk < shape.chunks(); ++chunk)
    for (int64_t i = 0; i < each; ++i) sums[i] += sums[chunk * each + i];
  return sums;
}

// y = (x - mean) * scale + bias [+ added] [relu] for the rows of a group.
template <typename T>
void normalise(const T* x, const T* added, T* y, const float* mean, const float* scale,
               const float* bias, const Shape& shape, int64_t group, bool relu) {
  const int64_t channels = shape.channels;
  for_each_chunk(shape, group, Order::last_to_first, [&](const Chunk& chunk) {
    for_each_tile(channels, [&](int64_t c, auto vectors, auto, int64_t count) {
      constexpr int V = decltype(vectors)::value;
      Vec m[V], s[V], b[V];
      for (int v = 0; v < V; ++v) {
        const int64_t at = c + v * W;
        m[v] = load(mean + at, count), s[v] = load(scale + at, count), b[v] = load(bias + at, count);
      }
      for (int64_t row = chunk.begin; row < chunk.end; ++row)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          const int64_t at = row * channels + c + v * W;
          Vec value = at::vec::fmadd(load(x + at, count) - m[v], s[v], b[v]);
          if (added) value = value + load(added + at, count);
          if (relu) value = at::vec::clamp_min(value, Vec(0.f));
          store(y + at, value, count);
        }
    });
  });
}

template <typename T>
void forward(const T* x, const T* added, T* y, const float* weight, const float* bias, float* mean,
             float* rstd, float* running_mean, float* running_var, double momentum, double eps,
             bool relu, const Shape& shape) {
  const int64_t channels = shape.channels;
  const double n = double(shape.rows);
  std::unique_ptr<double[]> moved(new double[2 * channels]());
  std::unique_ptr<float[]> scale(new float[channels]);
  for (int64_t group = 0; group < shape.groups; ++group) {
    // Of the differences to the group's first row: no cancellation where the mean is large.
    const T* shift = x + group * shape.rows * channels;
    const auto sums = sums_of_group(
        shape, group, [&](int64_t c, int64_t count) { return load(shift + c, count); },
        [&](int64_t at, int64_t count, const Vec& shift, Vec& sum, Vec& squares) {
          const Vec value = load(x + at, count) - shift;
          sum = sum + value;
          squares = at::vec::fmadd(value, value, squares);
        });
    float *means = mean + group * channels, *rstds = rstd + group * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const double offset = sums[c] / n;
      const double var = std::max(0.0, sums[channels + c] / n - offset * offset);
      const double m = double(float(shift[c])) + offset, r = 1 / std::sqrt(var + eps);
      means[c] = float(m), rstds[c] = float(r), scale[c] = float(r * weight[c]);
      moved[c] += m, moved[channels + c] += var * n / (n - 1);
    }
    normalise(x, added, y, means, scale.get(), bias, shape, group, relu);
  }
  if (momentum == 0) return;
  const double each = momentum / double(shape.groups);
  for (int64_t c = 0; c < channels; ++c) {
    running_mean[c] = float((1 - momentum) * running_mean[c] + each * moved[c]);
    running_var[c] = float((1 - momentum) * running_var[c] + each * moved[channels + c]);
  }
}

template <typename T>
void backward(const T* grad, const T* second, const T* x, const T* y, const float* weight,
              const float* mean, const float* rstd, T* grad_x, T* grad_added, float* grad_weight,
              float* grad_bias, const Shape& shape) {
  const int64_t channels = shape.channels;
  const double n = double(shape.rows);
  // The gradient before the ReLU, of the one or two uses of y.
  const auto before_relu = [grad, second, y](int64_t at, int64_t count) {
    Vec g = load(grad + at, count);
    if (second) g = g + load(second + at, count);
    return y ? Vec::blendv(Vec(0.f), g, load(y + at, count) > Vec(0.f)) : g;
  };
  std::unique_ptr<double[]> totals(new double[2 * channels]());
  std::unique_ptr<float[]> factors(new float[3 * channels]);
  float *a = factors.get(), *b = a + channels, *d = b + channels;
  for (int64_t group = 0; group < shape.groups; ++group) {
    const float *means = mean + group * channels, *rstds = rstd + group * channels;
    const auto sums = sums_of_group(
        shape, group, [&](int64_t c, int64_t count) { return load(means + c, count); },
        [&](int64_t at, int64_t count, const Vec& mean, Vec& sum, Vec& products) {
          const Vec g = before_relu(at, count);
          if (grad_added) store(grad_added + at, g, count);
          sum = sum + g;
          products = at::vec::fmadd(g, load(x + at, count) - mean, products);
        });
    // grad_x = a * g - (b * (x - mean) + d), g the gradient before the ReLU.
    for (int64_t c = 0; c < channels; ++c) {
      const double r = rstds[c], scale = weight[c] * r;
      totals[c] += sums[c], totals[channels + c] += r * sums[channels + c];
      a[c] = float(scale);
      b[c] = float(scale * r * r * sums[channels + c] / n);
      d[c] = float(scale * sums[c] / n);
    }
    for_each_chunk(shape, group, Order::last_to_first, [&](const Chunk& chunk) {
      for_each_tile(channels, [&](int64_t c, auto vectors, auto, int64_t count) {
        constexpr int V = decltype(vectors)::value;
        Vec m[V], av[V], bv[V], dv[V];
        for (int v = 0; v < V; ++v) {
          const int64_t at = c + v * W;
          m[v] = load(means + at, count), av[v] = load(a + at, count);
          bv[v] = load(b + at, count), dv[v] = load(d + at, count);
        }
        for (int64_t row = chunk.begin; row < chunk.end; ++row)
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) {
            const int64_t at = row * channels + c + v * W;
            const Vec g = grad_added ? load(grad_added + at, count) : before_relu(at, count);
            const Vec rest = at::vec::fmadd(load(x + at, count) - m[v], bv[v], dv[v]);
            store(grad_x + at, av[v] * g - rest, count);
          }
      });
    });
  }
  for (int64_t c = 0; c < channels; ++c) {
    grad_bias[c] = float(totals[c]), grad_weight[c] = float(totals[channels + c]);
  }
}

}  // namespace

#define INTERFACE(T, suffix)                                                                       \
  extern "C" void forward_##suffix(                                                                \
      const T* x, const T* added, T* y, const float* weight, const float* bias, float* mean,       \
      float* rstd, float* running_mean, float* running_var, double momentum, double eps, int relu, \
      int64_t groups, int64_t rows, int64_t channels) {                                            \
    forward<T>(x, added, y, weight, bias, mean, rstd, running_mean, running_var, momentum, eps,    \
               relu, {groups, rows, channels});                                                    \
  }                                                                                                \
  extern "C" void evaluate_##suffix(const T* x, const T* added, T* y, const float* mean,           \
                                    const float* scale, const float* bias, int relu, int64_t rows, \
                                    int64_t channels) {                                            \
    normalise<T>(x, added, y, mean, scale, bias, {1, rows, channels}, 0, relu);                    \
  }                                                                                                \
  extern "C" void backward_##suffix(                                                               \
      const T* grad, const T* second, const T* x, const T* y, const float* weight,                 \
      const float* mean, const float* rstd, T* grad_x, T* grad_added, float* grad_weight,          \
      float* grad_bias, int64_t groups, int64_t rows, int64_t channels) {                          \
    backward<T>(grad, second, x, y, weight, mean, rstd, grad_x, grad_added, grad_weight,           \
                grad_bias, {groups, rows, channels});                                                         \
  }

INTERFACE(float, fp32)
INTERFACE(c10::BFloat16, bf16)
