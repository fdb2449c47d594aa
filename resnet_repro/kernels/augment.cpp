// Training views of images in memory: (pixel / 255 - mean) / std, cropped from a zero-padded image
// and mirrored, as float32 in channels-last memory format. See `crop_and_flip` in data/images.py.

#include <cstdint>

#include <ATen/Parallel.h>

extern "C" void augment(const uint8_t* pixels, const int64_t* indices, const int64_t* views,
                        const float* mean, const float* std, float* out, int64_t images,
                        int64_t channels, int64_t height, int64_t width, int64_t padding) {
  const int64_t size = 2 * padding + 1, area = height * width;
  at::parallel_for(0, images, 1, [&](int64_t from, int64_t to) {
    for (int64_t image = from; image < to; ++image) {
      const int64_t view = views[image], offset = view % (size * size);
      const int64_t top = offset / size - padding, left = offset % size - padding;
      const bool mirrored = view >= size * size;
      const uint8_t* source = pixels + indices[image] * channels * area;
      float* target = out + image * channels * area;
      for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x) {
          const int64_t row = y + top, column = (mirrored ? width - 1 - x : x) + left;
          const bool inside = row >= 0 && row < height && column >= 0 && column < width;
          for (int64_t c = 0; c < channels; ++c) {
            const int64_t at = c * area + row * width + column;
            *target++ = inside ? (float(source[at]) / 255.f - mean[at]) / std[c] : 0.f;
          }
        }
    }
  });
}
