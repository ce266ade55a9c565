/* What this machine can do at most: float32 multiply-adds and bytes read, each per second, on all threads.
 *
 *     peak THREADS      compiled with -DVECTOR=floats per vector
 *
 * A register block of independent multiply-adds keeps every unit busy and touches no memory, each thread on a core
 * of its own; the best of many short rounds counts, because a peak is what the machine reached, not its average.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Without it gcc keeps the register block in memory. */
#define UNROLLED _Pragma("GCC unroll 16")

typedef float vec __attribute__((vector_size(4 * VECTOR)));

enum { CHAINS = 12, STEPS = 1000000, ROUNDS = 60, THREADS_MAX = 1024 };
static const size_t BYTES_PER_THREAD_MAX = (size_t)32 << 20, BYTES_MAX = (size_t)1 << 30;
static size_t bytes_per_thread;

struct task {
    float *memory;
    float sink;
    double started_s, ended_s;
    pthread_barrier_t *together;
};

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *multiply(void *argument) {
    struct task *task = argument;
    vec a[CHAINS], x = (vec){} + 1.0000001f, y = (vec){} + 1e-9f;
    UNROLLED for (int c = 0; c < CHAINS; c++) a[c] = (vec){} + (float)c;
    pthread_barrier_wait(task->together);
    task->started_s = now_s();
    for (int i = 0; i < STEPS; i++) {
        UNROLLED for (int c = 0; c < CHAINS; c++) a[c] = a[c] * x + y;
        __asm__ volatile("" : "+m"(task->sink));
    }
    UNROLLED for (int c = 0; c < CHAINS; c++) task->sink += a[c][0];
    task->ended_s = now_s();
    return NULL;
}

static void *read_all(void *argument) {
    struct task *task = argument;
    vec a[8] = {};
    size_t count = bytes_per_thread / sizeof(vec) / 8 * 8;
    const vec *from = (const vec *)task->memory;
    pthread_barrier_wait(task->together);
    task->started_s = now_s();
    for (size_t i = 0; i < count; i += 8)
        UNROLLED for (int c = 0; c < 8; c++) a[c] += from[i + (size_t)c];
    UNROLLED for (int c = 0; c < 8; c++) task->sink += a[c][0];
    task->ended_s = now_s();
    return NULL;
}

static void start(pthread_t *thread, int core, void *(*work)(void *), struct task *task) {
    pthread_attr_t where;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    pthread_attr_init(&where);
    pthread_attr_setaffinity_np(&where, sizeof one, &one);
    if (pthread_create(thread, &where, work, task)) exit(1);
    pthread_attr_destroy(&where);
}

/* The fewest seconds from the first start to the last end of `threads` tasks; they read the clock themselves,
 * because the thread that waits for them may get no core until they are done. */
static double best_s(void *(*work)(void *), int threads, struct task *tasks) {
    double best = 1e9;
    cpu_set_t allowed;
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_t together;
        pthread_barrier_init(&together, NULL, (unsigned)threads);
        pthread_t thread[THREADS_MAX];
        for (int t = 0, core = 0; t < threads && core < CPU_SETSIZE; core++) {
            if (!CPU_ISSET(core, &allowed)) continue;
            tasks[t].together = &together;
            start(&thread[t], core, work, &tasks[t]);
            t++;
        }
        double first_s = 1e18, last_s = 0;
        for (int t = 0; t < threads; t++) {
            pthread_join(thread[t], NULL);
            first_s = tasks[t].started_s < first_s ? tasks[t].started_s : first_s;
            last_s = tasks[t].ended_s > last_s ? tasks[t].ended_s : last_s;
        }
        best = last_s - first_s < best ? last_s - first_s : best;
    }
    return best;
}

int main(int argc, char **argv) {
    int threads = argc == 2 ? atoi(argv[1]) : 0;
    if (threads < 1 || threads > THREADS_MAX) return 2;
    bytes_per_thread = BYTES_MAX / (size_t)threads & ~(size_t)63;
    if (bytes_per_thread > BYTES_PER_THREAD_MAX) bytes_per_thread = BYTES_PER_THREAD_MAX;
    struct task *tasks = calloc((size_t)threads, sizeof *tasks);
    for (int t = 0; t < threads; t++) {
        tasks[t].memory = aligned_alloc(64, bytes_per_thread);
        if (!tasks[t].memory) return 1;
        memset(tasks[t].memory, 1, bytes_per_thread);
    }
    double flops = 2.0 * VECTOR * CHAINS * STEPS * threads / best_s(multiply, threads, tasks);
    double bytes = (double)bytes_per_thread * threads / best_s(read_all, threads, tasks);
    printf("{\"flops_per_s\":%.6e,\"read_bytes_per_s\":%.6e}\n", flops, bytes);
    return 0;
}
