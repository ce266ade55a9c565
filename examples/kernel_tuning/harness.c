/* Times one attention kernel and checks it against a float64 reference. Trusted; the kernel is not.
 *
 *     harness KERNEL.so REPEATS CALL_LIMIT_S BUDGET_S     with "R S SEED" on stdin
 *
 * The kernel runs in a child process; this process makes the inputs, reads the clock, checks the answers and
 * prints a seal and one line of JSON. What the child is kept from:
 *   - forging: the seal is a one-time code over the line under the secret R and S, which come on stdin and never
 *     leave this process; it cannot be traced or opened through /proc. Whoever gets at our stdout all the same
 *     can spoil the line, which then scores nothing, but cannot make another;
 *   - remembering answers: every call gets new inputs, written while all its threads are stopped, and an output
 *     buffer full of NaN;
 *   - working beside: it may start threads but no processes, which a stop would miss;
 *   - reading answers: the reference is computed here, from a private copy of the inputs;
 *   - finishing late: the output is copied the moment the child says that it is done;
 *   - writing files: its file size limit is zero.
 * Every call is checked on random rows, and one call, drawn by the seed, on all rows.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef void (*attention_t)(const float *, const float *, const float *, float *, int, int, int, int, int);

struct shape {
    const char *name;
    int heads, kv_heads, queries, keys, dim;
};

static const struct shape SHAPES[] = {SHAPE_LIST};  /* -DSHAPE_LIST={...},{...} */
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0], REPEATS_MAX = 64, ROWS_CHECKED = 16 };

/* Largest error allowed, as a share of the root mean square of the reference. Float32 sums stay below 1e-4. */
static const double TOLERANCE = 1e-3;
/* Scores get a standard deviation of about 2, so that the softmax is neither flat nor a single key. */
static const float QUERY_SCALE = 6.0f;

enum { MEMORY_FD = 10, GO_FD = 11, DONE_FD = 12 };
enum { READY = 255, NO_FUNCTION = 254, NOT_CONFINED = 253 };

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "say which AUDIT_ARCH this is"
#endif

static float *shared, *private, *answer;
static size_t shared_floats;

static size_t q_floats(const struct shape *s) { return (size_t)s->heads * s->queries * s->dim; }
static size_t k_floats(const struct shape *s) { return (size_t)s->kv_heads * s->keys * s->dim; }
static float *output_of(const struct shape *s, float *memory) { return memory + q_floats(s) + 2 * k_floats(s); }

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the child: runs the kernel when told ---- */

/* No files, and threads but no processes: clone3, whose flags a filter cannot see, is said not to exist. */
static int confine(void) {
    enum { REFUSE = SECCOMP_RET_ERRNO | EPERM, ABSENT = SECCOMP_RET_ERRNO | ENOSYS };
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, REFUSE),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* the x32 numbers */
        BPF_STMT(BPF_RET | BPF_K, REFUSE),
#ifdef SYS_fork
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fork, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, REFUSE),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vfork, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, REFUSE),
#endif
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, ABSENT),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, REFUSE),
    };
    struct sock_fprog filter = {sizeof program / sizeof program[0], program};
    struct rlimit none = {0, 0};
    return setrlimit(RLIMIT_FSIZE, &none) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

static int child(const char *library) {
    int loose = confine();
    shared = mmap(NULL, shared_floats * sizeof(float), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, MEMORY_FD, 0);
    void *loaded = loose || shared == MAP_FAILED ? NULL : dlopen(library, RTLD_NOW);
    attention_t attention = loaded ? (attention_t)dlsym(loaded, "attention") : NULL;
    unsigned char which = loose ? NOT_CONFINED : attention ? READY : NO_FUNCTION;
    for (;;) {
        if (write(DONE_FD, &which, 1) != 1 || read(GO_FD, &which, 1) != 1) return 0;
        const struct shape *s = &SHAPES[which];
        const float *k = shared + q_floats(s), *v = k + k_floats(s);
        attention(shared, k, v, output_of(s, shared), s->heads, s->kv_heads, s->queries, s->keys, s->dim);
    }
}

/* ---- the parent: inputs, reference, clock ---- */

static uint32_t mix(uint32_t x) {
    x ^= x >> 16, x *= 0x7feb352dU, x ^= x >> 15, x *= 0x846ca68bU, x ^= x >> 16;
    return x;
}

static uint64_t stream;

static uint32_t draw(void) {
    stream += 0x9e3779b97f4a7c15ULL;
    return mix((uint32_t)(stream >> 32) ^ mix((uint32_t)stream));
}

/* Uniform in [-scale, scale), a function of the position alone, so that the loop vectorises. */
static void fill(float *to, size_t count, float scale) {
    uint32_t base = draw();
    for (size_t i = 0; i < count; i++)
        to[i] = (float)(int32_t)mix((uint32_t)i * 0x9e3779b9U + base) * (scale / 2147483648.0f);
}

static void reference_row(const struct shape *s, int head, int query, double *p, double *row) {
    const float *k0 = private + q_floats(s), *q = private + ((size_t)head * s->queries + query) * s->dim;
    const float *k = k0 + (size_t)(head / (s->heads / s->kv_heads)) * s->keys * s->dim, *v = k + k_floats(s);
    int seen = s->keys - s->queries + query + 1;
    double top = -INFINITY, sum = 0;
    for (int j = 0; j < seen; j++) {
        double lane[8] = {0}, score = 0;
        for (int d = 0; d < s->dim; d += 8)
            for (int i = 0; i < 8; i++) lane[i] += (double)q[d + i] * (double)k[(size_t)j * s->dim + d + i];
        for (int i = 0; i < 8; i++) score += lane[i];
        p[j] = score / sqrt(s->dim);
        if (p[j] > top) top = p[j];
    }
    for (int d = 0; d < s->dim; d++) row[d] = 0;
    for (int j = 0; j < seen; j++) {
        double weight = exp(p[j] - top);
        sum += weight;
        for (int d = 0; d < s->dim; d++) row[d] += weight * (double)v[(size_t)j * s->dim + d];
    }
    for (int d = 0; d < s->dim; d++) row[d] /= sum;
}

/* The largest error of the answer over all rows, or over a few random ones; infinite where it is not finite. */
static double error_of(const struct shape *s, int every_row, double *p, double *row) {
    int rows = s->heads * s->queries, checked = every_row || rows < ROWS_CHECKED ? rows : ROWS_CHECKED;
    double worst = 0, squares = 0;
    for (int c = 0; c < checked; c++) {
        int r = checked == rows ? c : (int)(draw() % (uint32_t)rows);
        reference_row(s, r / s->queries, r % s->queries, p, row);
        for (int d = 0; d < s->dim; d++) {
            double got = answer[(size_t)r * s->dim + d], off = fabs(got - row[d]);
            if (!isfinite(got)) return INFINITY;
            if (off > worst) worst = off;
            squares += row[d] * row[d];
        }
    }
    return worst / sqrt(squares / ((double)checked * s->dim));
}

static pid_t runner;
static int go_fd, done_fd;
static char failure[160];

static int fail(const char *format, ...) {
    va_list words;
    va_start(words, format);
    vsnprintf(failure, sizeof failure, format, words);
    va_end(words);
    return -1;
}

static void describe_end(const char *when) {
    int status = 0;
    waitpid(runner, &status, 0);
    runner = 0;
    if (WIFSIGNALED(status)) fail("crashed with signal %d %s", WTERMSIG(status), when);
    else fail("ended by itself with code %d %s", WEXITSTATUS(status), when);
}

/* The child's next byte, or -1 with `failure` set when it ends or takes longer than limit_s. */
static int hear(double limit_s, const char *when) {
    struct pollfd wait = {.fd = done_fd, .events = POLLIN};
    unsigned char said;
    int ready = poll(&wait, 1, (int)(limit_s * 1e3) + 1);
    if (ready == 0) return fail("hung: more than %.3g s %s", limit_s, when);
    if (ready < 0 || read(done_fd, &said, 1) != 1) return describe_end(when), -1;
    return said;
}

static int start(const char *self, const char *library, double limit_s) {
    int go[2], done[2];
    if (pipe2(go, O_CLOEXEC) || pipe2(done, O_CLOEXEC)) return fail("no pipe: %s", strerror(errno));
    int memory = memfd_create("attention", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, (off_t)(shared_floats * sizeof(float)))) return fail("no shared memory");
    shared = mmap(NULL, shared_floats * sizeof(float), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (shared == MAP_FAILED) return fail("no shared memory: %s", strerror(errno));
    runner = fork();
    if (runner < 0) return fail("no process: %s", strerror(errno));
    if (runner == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int nothing = open("/dev/null", O_RDWR);
        for (int fd = 0; fd < 3; fd++) dup2(nothing, fd);
        dup2(memory, MEMORY_FD), dup2(go[0], GO_FD), dup2(done[1], DONE_FD);
        execl(self, self, "--child", library, (char *)NULL);
        _exit(127);
    }
    close(go[0]), close(done[1]);
    go_fd = go[1], done_fd = done[0];
    int said = hear(limit_s, "while loading");
    if (said == NOT_CONFINED) return fail("the kernel cannot be confined: this system lacks seccomp");
    if (said == NO_FUNCTION) return fail("there is no function `attention`, or a symbol is missing");
    return said < 0 ? -1 : 0;
}

/* One call on new inputs: its seconds, or a negative number with `failure` set. */
static double call(int which, double limit_s) {
    const struct shape *s = &SHAPES[which];
    size_t inputs = q_floats(s) + 2 * k_floats(s), output = q_floats(s);
    fill(private, q_floats(s), QUERY_SCALE);
    fill(private + q_floats(s), 2 * k_floats(s), 1.0f);
    int status;
    kill(runner, SIGSTOP);
    if (waitpid(runner, &status, WUNTRACED) != runner || !WIFSTOPPED(status))
        return runner = 0, fail("ended by itself between two calls");
    memcpy(shared, private, inputs * sizeof(float));
    memset(output_of(s, shared), 0xff, output * sizeof(float));
    kill(runner, SIGCONT);
    unsigned char go = (unsigned char)which;
    double started_s = now_s();
    if (write(go_fd, &go, 1) != 1) return describe_end("before a call"), -1;
    int said = hear(limit_s, s->name);
    double taken_s = now_s() - started_s;
    memcpy(answer, output_of(s, shared), output * sizeof(float));
    if (said < 0) return -1;
    return said == which ? taken_s : fail("answered out of turn on %s", s->name);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median seconds of up to `repeats` checked calls after a warm-up, fewer once budget_s is spent. A warm-up that
 * spends it all counts as the measurement: such a kernel is far behind, and faults of a first call hide in it. */
static int measure(int which, int repeats, double limit_s, double budget_s, double *median_s, double *worst) {
    const struct shape *s = &SHAPES[which];
    double *p = malloc(sizeof(double) * (size_t)s->keys), *row = malloc(sizeof(double) * (size_t)s->dim);
    double taken_s[REPEATS_MAX], spent_s = 0;
    int count = 0, full = (int)(draw() % 2) - 1;
    for (int r = -1; r < repeats && (r < 0 || spent_s < budget_s); r++) {
        double seconds = call(which, limit_s);
        if (seconds < 0) return -1;
        double error = error_of(s, r == full || (r < 0 && seconds >= budget_s), p, row);
        if (error > *worst) *worst = error;
        if (!(error <= TOLERANCE)) return fail("wrong on %s: error %.1e, allowed %.0e", s->name, error, TOLERANCE);
        spent_s += seconds;
        if (r >= 0 || seconds >= budget_s) taken_s[count++] = seconds;
    }
    qsort(taken_s, (size_t)count, sizeof(double), ascending);
    *median_s = count % 2 ? taken_s[count / 2] : (taken_s[count / 2 - 1] + taken_s[count / 2]) / 2;
    free(p), free(row);
    return 0;
}

/* A one-time code: the text as a polynomial at R over the integers modulo 2^61 - 1, plus S. */
static uint64_t sealed(const char *text, uint64_t r, uint64_t s) {
    const uint64_t prime = ((uint64_t)1 << 61) - 1;
    unsigned __int128 sum = 0;
    for (; *text; text++) sum = (sum + (unsigned char)*text) * r % prime;
    return (uint64_t)((sum + s) % prime);
}

int main(int argc, char **argv) {
    for (int i = 0; i < SHAPE_COUNT; i++) {
        size_t floats = 2 * q_floats(&SHAPES[i]) + 2 * k_floats(&SHAPES[i]);
        shared_floats = floats > shared_floats ? floats : shared_floats;
    }
    if (argc == 3 && !strcmp(argv[1], "--child")) return child(argv[2]);
    prctl(PR_SET_DUMPABLE, 0);
    signal(SIGPIPE, SIG_IGN);
    unsigned long long r, s, seed;
    if (argc != 5 || scanf("%llu %llu %llu", &r, &s, &seed) != 3) return 2;
    int repeats = atoi(argv[2]) < REPEATS_MAX ? atoi(argv[2]) : REPEATS_MAX;
    double limit_s = atof(argv[3]), budget_s = atof(argv[4]), seconds[SHAPE_COUNT] = {0}, worst = 0;
    stream = seed;
    private = malloc(shared_floats * sizeof(float));
    answer = malloc(shared_floats * sizeof(float));
    int failed = start("/proc/self/exe", argv[1], limit_s);
    for (int i = 0; i < SHAPE_COUNT && !failed; i++)
        failed = measure(i, repeats, limit_s, budget_s, &seconds[i], &worst);
    if (runner > 0) kill(runner, SIGKILL), waitpid(runner, NULL, 0);
    char line[512 + 32 * SHAPE_COUNT];
    int end = sprintf(line, "{\"ok\":%s,\"reason\":\"%s\",\"error\":%.3e,\"seconds\":[", failed ? "false" : "true",
                      failure, isfinite(worst) ? worst : 1e9);
    for (int i = 0; i < SHAPE_COUNT; i++) end += sprintf(line + end, "%s%.9f", i ? "," : "", seconds[i]);
    strcpy(line + end, "]}");
    printf("%llu %s\n", (unsigned long long)sealed(line, r, s), line);
    return 0;
}
