/* SPDX-License-Identifier: MIT
 *
 * Processes whose limits are nothing, or next to it: each opens two ends over each mechanism, sends and receives through them, and closes
 * them; limited before it opens, or afterwards. Every call works or says what it lacks, in time; nothing dies of a signal. limits [NAME of
 * a limit, or none]: what does not fit there is told by the caller's file system. Prints a line for each limit.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thirl/area.h>
#include <thirl/cache.h>
#include <thirl/lock.h>
#include <thirl/state.h>

#define NOBODY 65534
#define SECONDS_MOST 20

static const struct way {
    const char *address;
    enum thirl_role first, second;
} ways[] = {
    {"shm://limits", THIRL_PAIR, THIRL_PAIR},
    {"shm://limits-work", THIRL_PULL, THIRL_PUSH},
    {"shm://limits-news", THIRL_SUB, THIRL_PUB},
    {"shm://limits-calls", THIRL_SERVE, THIRL_CALL},
    {"shm://limits-events", THIRL_WATCH, THIRL_NOTIFY},
    {"mq://limits-%u", THIRL_PAIR, THIRL_PAIR},
    {"mq://limits-work-%u", THIRL_PULL, THIRL_PUSH},
    {"sysv://limits-%u", THIRL_PAIR, THIRL_PAIR},
    {"unix://@thirl-limits-%u", THIRL_PAIR, THIRL_PAIR},
    {"unix://@thirl-limits-s-%u?type=seqpacket", THIRL_PAIR, THIRL_PAIR},
    {"unix://@thirl-limits-d-%u?type=datagram", THIRL_PAIR, THIRL_PAIR},
    {"unix://@thirl-limits-n-%u", THIRL_PUB, THIRL_SUB},
    {"tcp://127.0.0.1:%u", THIRL_PAIR, THIRL_PAIR},
    {"udp://127.0.0.1:%u", THIRL_PULL, THIRL_PUSH},
    {"fifo:///tmp/thirl-limits-%u", THIRL_PAIR, THIRL_PAIR},
    {"pipe://", THIRL_PAIR, THIRL_PAIR},
    {"sig://%u", THIRL_WATCH, THIRL_NOTIFY},
    {"auto://limits", THIRL_PAIR, THIRL_PAIR},
};
#define WAYS (sizeof ways / sizeof *ways)

/* clang-format off */
#define LIMITS(X) \
    X(NOFILE) X(AS) X(DATA) X(STACK) X(FSIZE) X(MEMLOCK) X(NPROC) X(MSGQUEUE) X(SIGPENDING) X(CORE) X(RSS) X(LOCKS) \
    X(RTPRIO) X(NICE) X(RTTIME)
/* clang-format on */
static const struct {
    const char *name;
    int resource;
} limits[] = {
#define LIMIT(name) {#name, RLIMIT_##name},
    LIMITS(LIMIT)
#undef LIMIT
};
#define LIMIT_COUNT (sizeof limits / sizeof *limits)

static const char *stage = "";
static const char *what;

static void at(const char *name) {
    stage = name;
}

/* A call has worked, or says why not. */
static bool fine(int rc) {
    if (rc >= 0 || *thirl_why() != '\0' || rc == -EAGAIN || rc == -ETIMEDOUT) return rc == 0;
    (void)fprintf(stderr, "%s: %s: code %d without a sentence\n", what, stage, rc);
    _exit(3);
}

static void talk(thirl *from, thirl *to, size_t size) {
    static char data[300000], got[sizeof data];
    size_t length = 0;
    memset(data, (int)size, size);
    at("send");
    if (from == NULL || to == NULL || !fine(thirl_send(from, data, size, thirl_in_ms(30)))) return;
    at("recv");
    if (fine(thirl_recv(to, got, sizeof got, &length, thirl_in_ms(30))) &&
        (length != size || memcmp(got, data, size) != 0)) {
        (void)fprintf(stderr, "%s: %zu bytes came as %zu, or torn\n", what, size, length);
        _exit(3);
    }
}

static void ask(thirl *server, thirl *caller) {
    thirl_msg *reply = NULL;
    at("call");
    (void)server;
    if (caller != NULL && fine(thirl_call(caller, "question", 8, &reply, thirl_in_ms(10)))) thirl_free(&reply);
}

static void tell(thirl *watch, thirl *notify) {
    uint32_t event = 1;
    size_t size = 0;
    at("notify");
    if (notify == NULL || watch == NULL || !fine(thirl_send(notify, &event, sizeof event, thirl_in_ms(30)))) return;
    at("watch");
    (void)fine(thirl_recv(watch, &event, sizeof event, &size, thirl_in_ms(30)));
}

static void use(const struct way *way, thirl *first, thirl *second) {
    if (way->first == THIRL_SERVE) {
        ask(first, second);
    } else if (way->first == THIRL_WATCH) {
        tell(first, second);
    } else {
        bool turned = way->first == THIRL_PUB;
        for (size_t size = 8; size <= 300000; size = size * 30 + 7) {
            talk(turned ? first : second, turned ? second : first, size);
        }
    }
    at("fd");
    if (first != NULL) (void)fine(thirl_fd(first) < 0 ? thirl_fd(first) : 0);
}

/* What has a name and belongs to nobody. */
static void share(void) {
    thirl_state *state = NULL;
    thirl_cache *cache = NULL;
    thirl_area *area = NULL;
    thirl_lock *lock = NULL;
    at("a state");
    if (fine(thirl_state_open(&state, "limits", NULL))) (void)fine(thirl_state_set(state, "now", 3, thirl_in_ms(30)));
    thirl_state_close(&state);
    at("a cache");
    if (fine(thirl_cache_open(&cache, "limits-cache", NULL))) {
        (void)fine(thirl_cache_put(cache, "key", 3, "value", 5, THIRL_NEVER, thirl_in_ms(30)));
    }
    thirl_cache_close(&cache);
    at("an area");
    if (fine(thirl_area_open(&area, "limits-area", NULL))) (void)fine(thirl_area_grow(area, 3 << 20, thirl_in_ms(30)));
    thirl_area_close(&area);
    at("a lock");
    if (fine(thirl_lock_open(&lock, "limits-lock", THIRL_LOCK_MUTEX, NULL)) &&
        fine(thirl_mutex_lock(lock->mutex, thirl_in_ms(30)))) {
        (void)thirl_mutex_unlock(lock->mutex);
    }
    thirl_lock_close(&lock);
}

static void lower(int resource, uint64_t value) {
    struct rlimit limit;
    if (resource < 0) return;
    (void)getrlimit(resource, &limit);
    limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
    (void)setrlimit(resource, &limit);
}

/* When a process becomes poor: before it does anything, when it has joined the registry, or when its ends are open. */
enum moment { BORN, JOINED, OPEN, MOMENTS };
static const char *const moments[] = {"born", "joined", "open"};

static void run(unsigned number, int resource, uint64_t value, enum moment moment) {
    const struct way *way = &ways[number];
    char address[100], name[200];
    thirl *first = NULL, *second = NULL;
    unsigned mine = way->address[1] == 'i' ? (unsigned)getpid() : 20000 + (unsigned)getpid() % 10000;
    (void)snprintf(address, sizeof address, way->address, mine);
    (void)snprintf(name, sizeof name, "%s %s at %llu", address, moments[moment], (unsigned long long)value);
    what = name;
    if (moment == JOINED) {
        at("join");
        (void)fine(thirl_open(&first, THIRL_PAIR, "shm://limits-first", NULL));
        (void)thirl_close(&first, THIRL_NOW);
    }
    if (moment != OPEN) lower(resource, value);
    at("open the first");
    (void)fine(thirl_open(&first, way->first, address, NULL));
    at("open the second");
    (void)fine(thirl_open(&second, way->second, address, NULL));
    if (moment == OPEN) lower(resource, value);
    use(way, first, second);
    at("close");
    (void)thirl_close(&second, thirl_in_ms(30));
    (void)thirl_close(&first, thirl_in_ms(30));
    if (number == 0) share();
    _exit(0);
}

static int await(pid_t child) {
    int status = 0;
    for (int tries = 0; tries < SECONDS_MOST * 200; tries++) {
        if (waitpid(child, &status, WNOHANG) == child) return status;
        (void)poll(NULL, 0, 5);
    }
    (void)kill(child, SIGKILL);
    (void)waitpid(child, &status, 0);
    return -1;
}

static uint64_t mapped(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1) pages = 0;
    if (file != NULL) (void)fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static unsigned descriptors(void) {
    int fd = dup(0);
    (void)close(fd);
    return fd < 0 ? 3 : (unsigned)fd;
}

/* Values for a limit, from nothing upwards. */
static unsigned values(int resource, uint64_t value[8]) {
    const uint64_t few[] = {0, 1, 4096, 65536, 1 << 20, 5 << 20};
    uint64_t base = resource == RLIMIT_AS ? mapped() : 0;
    if (resource == RLIMIT_NOFILE) {
        for (unsigned i = 0; i < 8; i++) value[i] = i == 0 ? 0 : descriptors() + i * i / 2;
        return 8;
    }
    if (resource == RLIMIT_AS || resource == RLIMIT_DATA || resource == RLIMIT_FSIZE || resource == RLIMIT_MSGQUEUE) {
        for (unsigned i = 0; i < 6; i++) value[i] = base + few[i];
        return 6;
    }
    value[0] = 0;
    value[1] = 16384;
    return resource == RLIMIT_STACK ? 2 : 1;
}

/* How many went wrong, over all ways; two processes at once are enough for two processors. */
static unsigned try(const char *limit, int resource) {
    uint64_t value[8] = {0};
    unsigned bad = 0, done = 0, count = resource < 0 ? 1 : values(resource, value);
    for (unsigned i = 0; i < WAYS; i++) {
        for (unsigned k = 0; k < MOMENTS * count; k++) {
            pid_t child = fork();
            if (child == 0) {
                run(i, resource, value[k / MOMENTS], k % MOMENTS);
            }
            int status = await(child);
            done++;
            if (status != 0) {
                bad++;
                (void)printf("# %s %s at %llu when %s: %s %d\n", limit, ways[i].address,
                             (unsigned long long)value[k / MOMENTS], moments[k % MOMENTS],
                             status == -1 ? "hangs" : "status", status);
            }
        }
    }
    (void)printf("%s - %s: %u processes\n", bad == 0 ? "ok" : "not ok", limit, done);
    (void)fflush(stdout);
    return bad;
}

/* Root is above some limits: so it becomes somebody else, to whom the registry belongs. */
static void descend(void) {
    const char *dir = getenv("THIRL_DIR");
    if (dir != NULL && (mkdir(dir, 0700) == 0 || errno == EEXIST) && geteuid() == 0 &&
        (chown(dir, NOBODY, NOBODY) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
         setresuid(NOBODY, NOBODY, NOBODY) != 0)) {
        perror("limits");
        exit(2);
    }
}

int main(int argc, char **argv) {
    unsigned bad = 0;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    descend();
    if (argc == 2 && strcmp(argv[1], "none") == 0) return try("none", -1) != 0;
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        if (argc < 2 || strcmp(argv[1], limits[i].name) == 0) bad += try(limits[i].name, limits[i].resource);
    }
    return bad != 0;
}
