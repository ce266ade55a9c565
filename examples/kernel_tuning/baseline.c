/* The baseline: attention as three plain loops. Its SHA-256 is pinned in kernel_measure.py; do not edit. */
#include <math.h>
#include <stdlib.h>

void attention(const float *q, const float *k, const float *v, float *out, int heads, int kv_heads, int queries,
               int keys, int dim) {
    int group = heads / kv_heads;
    float scale = 1.0f / sqrtf((float)dim);
    float *p = malloc((size_t)keys * sizeof(float));
    for (int h = 0; h < heads; h++) {
        const float *kh = k + (size_t)(h / group) * keys * dim;
        const float *vh = v + (size_t)(h / group) * keys * dim;
        for (int i = 0; i < queries; i++) {
            const float *qi = q + ((size_t)h * queries + i) * dim;
            float *oi = out + ((size_t)h * queries + i) * dim;
            int seen = keys - queries + i + 1;
            float top = -INFINITY, sum = 0.0f;
            for (int j = 0; j < seen; j++) {
                float s = 0.0f;
                for (int d = 0; d < dim; d++) s += qi[d] * kh[(size_t)j * dim + d];
                p[j] = s * scale;
                if (p[j] > top) top = p[j];
            }
            for (int j = 0; j < seen; j++) {
                p[j] = expf(p[j] - top);
                sum += p[j];
            }
            for (int d = 0; d < dim; d++) oi[d] = 0.0f;
            for (int j = 0; j < seen; j++)
                for (int d = 0; d < dim; d++) oi[d] += p[j] * vh[(size_t)j * dim + d];
            for (int d = 0; d < dim; d++) oi[d] /= sum;
        }
    }
    free(p);
}
