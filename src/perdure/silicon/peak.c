/* What this machine can do at best: FP32 multiply-adds and bytes read from memory per second, on N threads.
 *
 * usage: peak THREADS BYTES_PER_THREAD
 * prints: FLOP_PER_S BYTES_PER_S
 *
 * Both are the best of several rounds, because a shared machine only ever makes them slower. Each thread reads
 * its own bytes over and over, as decode reads weights: what fits in the last cache is read from there.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 15, PASSES = 3, CHAINS = 12, LANES = 16, STEPS = 4000000, THREADS_MAX = 1024 };

/* The compiler maps 16 lanes onto whatever vector registers the machine has; 12 independent chains hide
 * the latency of the multiply-adds. */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

static pthread_barrier_t start_line, finish_line;
static size_t bytes_each;

/* Each thread times itself: a machine with as many cores as threads may wake the main thread late. */
typedef struct {
    uint64_t *memory;
    double began_s, ended_s;
    volatile float lanes_sum;
    volatile uint64_t words_sum;
} worker;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float multiply_add(void)
{
    lanes chain[CHAINS], factor, term;
    for (int lane = 0; lane < LANES; lane++) {
        factor[lane] = 0.999f;
        term[lane] = 0.001f;
    }
    for (int c = 0; c < CHAINS; c++)
        for (int lane = 0; lane < LANES; lane++)
            chain[c][lane] = (float)(c + lane);
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            chain[c] = chain[c] * factor + term;
    float sum = 0;
    for (int c = 0; c < CHAINS; c++)
        for (int lane = 0; lane < LANES; lane++)
            sum += chain[c][lane];
    return sum;
}

static uint64_t read_through(const uint64_t *memory)
{
    uint64_t sum[8] = {0};
    size_t words = bytes_each / sizeof(uint64_t);
    for (size_t i = 0; i + 8 <= words; i += 8)
        for (int lane = 0; lane < 8; lane++)
            sum[lane] += memory[i + lane];
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static void *work(void *argument)
{
    worker *self = argument;
    memset(self->memory, 1, bytes_each); /* each thread touches its own pages first */
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&start_line);
        self->began_s = now_s();
        self->lanes_sum = multiply_add();
        self->ended_s = now_s();
        pthread_barrier_wait(&finish_line);
        pthread_barrier_wait(&start_line);
        self->began_s = now_s();
        for (int pass = 0; pass < PASSES; pass++)
            self->words_sum += read_through(self->memory);
        self->ended_s = now_s();
        pthread_barrier_wait(&finish_line);
    }
    return NULL;
}

/* From the first thread's start to the last one's end. */
static double phase_s(const worker *workers, int threads)
{
    pthread_barrier_wait(&start_line);
    pthread_barrier_wait(&finish_line);
    double began_s = workers[0].began_s, ended_s = workers[0].ended_s;
    for (int t = 1; t < threads; t++) {
        began_s = workers[t].began_s < began_s ? workers[t].began_s : began_s;
        ended_s = workers[t].ended_s > ended_s ? workers[t].ended_s : ended_s;
    }
    return ended_s - began_s;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int threads = atoi(argv[1]);
    bytes_each = (size_t)atoll(argv[2]) / 64 * 64;
    if (threads < 1 || threads > THREADS_MAX || bytes_each < 64)
        return 2;
    worker *workers = calloc((size_t)threads, sizeof *workers);
    pthread_t *ids = calloc((size_t)threads, sizeof *ids);
    if (!workers || !ids)
        return 1;
    pthread_barrier_init(&start_line, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&finish_line, NULL, (unsigned)threads + 1);
    for (int t = 0; t < threads; t++) {
        workers[t].memory = aligned_alloc(64, bytes_each);
        if (!workers[t].memory || pthread_create(&ids[t], NULL, work, &workers[t]))
            return 1;
    }
    double flop_per_s = 0, bytes_per_s = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double compute = 2.0 * LANES * CHAINS * STEPS * threads / phase_s(workers, threads);
        double memory = (double)bytes_each * PASSES * threads / phase_s(workers, threads);
        flop_per_s = compute > flop_per_s ? compute : flop_per_s;
        bytes_per_s = memory > bytes_per_s ? memory : bytes_per_s;
    }
    for (int t = 0; t < threads; t++)
        pthread_join(ids[t], NULL);
    printf("%.6e %.6e\n", flop_per_s, bytes_per_s);
    return 0;
}
