/* SPDX-License-Identifier: MIT
 *
 * How fast one process gets and puts values of a cache: thirl's, memcached's and Redis's over a Unix socket, LMDB's. Each value that is got
 * is read, all of it. Below them lies what no cache can be faster than: the same values in an array, by number. cache.sh starts the servers and
 * prints the table.
 *
 *     cache ENGINE WHERE BYTES SECONDS     prints gets, gets by 32 and puts a second; 0: it has no such thing
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <thirl/cache.h>

#ifdef WITH_LMDB
#include <lmdb.h>
#endif

#define KEYS 10000
#define BATCH 32
#define KEY 8 /* bytes */

static uint64_t sum; /* of all that was read */

static _Noreturn void fail(const char *what, const char *why) {
    (void)fprintf(stderr, "cache: %s: %s\n", what, why);
    exit(1);
}

/* Adds up eight words at once, in registers: what is measured is how soon a value is there, and not how fast words are added to one. */
typedef uint64_t words __attribute__((vector_size(16), aligned(1), may_alias));
#define WORDS 4

static void take(const void *value, size_t size) {
    const unsigned char *from = value;
    words part[WORDS] = {{0}};
    size_t at = 0;
    for (; at + sizeof part <= size; at += sizeof part) {
        part[0] += *(const words *)(from + at);
        part[1] += *(const words *)(from + at + sizeof *part);
        part[2] += *(const words *)(from + at + 2 * sizeof *part);
        part[3] += *(const words *)(from + at + 3 * sizeof *part);
    }
    part[0] += part[1] + part[2] + part[3];
    uint64_t all = part[0][0] + part[0][1];
    for (; at < size; at++) {
        all += from[at];
    }
    sum += all;
}

/* Printable, because two of the four want it. */
static void key_of(char key[KEY + 1], uint32_t number) {
    (void)snprintf(key, KEY + 1, "key%05u", number % 100000);
}

static char keys[KEYS][KEY + 1];

/* ---- an array: no key is looked for ---- */

static unsigned char *array;
static size_t stride;

static void array_begin(const char *where, size_t size) {
    (void)where;
    stride = (size + 512) / 64 * 64;
    array = aligned_alloc(64, stride * KEYS);
    if (array == NULL) {
        fail("aligned_alloc", "no memory");
    }
}

static void array_put_one(const char *key, const char *value, size_t size) {
    memcpy(array + stride * (size_t)atol(key + 3), value, size);
}

static void array_get_some(uint32_t const *which, unsigned count, size_t size) {
    for (unsigned i = 0; count > 1 && i < count; i++) {
        for (size_t at = 0; at < size; at += 64) {
            __builtin_prefetch(array + stride * which[i] + at, 0, 2);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        take(array + stride * which[i], size);
    }
}

/* ---- thirl ---- */

static thirl_cache *cache;

static void thirl_begin(const char *where, size_t size) {
    struct thirl_cache_options o = {.size = sizeof o, .bytes = (size + 512) * KEYS * 2, .items = KEYS};
    int none = thirl_cache_remove_name(where); /* there is none, as a rule */
    if (none == -EACCES || thirl_cache_open(&cache, where, &o) != 0) {
        fail(where, thirl_why());
    }
}

static void thirl_put_one(const char *key, const char *value, size_t size) {
    if (thirl_cache_put(cache, key, KEY, value, size, THIRL_NEVER, THIRL_NEVER) != 0) {
        fail("put", thirl_why());
    }
}

static void thirl_get_some(uint32_t const *which, unsigned count, size_t size) {
    struct thirl_cache_pin pin[BATCH];
    struct iovec key[BATCH];
    for (unsigned i = 0; i < count; i++) {
        key[i] = (struct iovec){keys[which[i]], KEY};
    }
    int found =
        count == 1 ? !thirl_cache_get(cache, keys[*which], KEY, pin) : thirl_cache_get_many(cache, key, count, pin);
    if (found != (int)count) {
        fail("get", "not there");
    }
    for (unsigned i = 0; i < count; i++) {
        if (pin[i].size != size) {
            fail("get", "another one");
        }
        take(pin[i].value, pin[i].size);
        thirl_cache_unpin(cache, &pin[i]);
    }
}

/* ---- servers ---- */

static int conn = -1;
static char *room;
static size_t room_size;

static void connect_to(const char *where, size_t size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", where);
    conn = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int tries = 0; connect(conn, (struct sockaddr *)&address, sizeof address) != 0; tries++) {
        if (tries == 500) {
            fail(where, strerror(errno));
        }
        (void)usleep(10000);
    }
    room_size = (size + 256) * BATCH;
    room = malloc(room_size);
    if (room == NULL) {
        fail("malloc", "no memory");
    }
}

static void say(const char *text, size_t size) {
    for (ssize_t n; size != 0; text += n, size -= (size_t)n) {
        n = write(conn, text, size);
        if (n <= 0) {
            fail("write", strerror(errno));
        }
    }
}

/* So many bytes of an answer, whose length is known. */
static void hear(size_t bytes) {
    for (size_t have = 0; have < bytes;) {
        ssize_t n = read(conn, room + have, bytes - have);
        if (n <= 0) {
            fail("read", n == 0 ? "closed" : strerror(errno));
        }
        have += (size_t)n;
    }
}

static size_t digits(size_t number) {
    char text[32];
    return (size_t)snprintf(text, sizeof text, "%zu", number);
}

/* memcached's text protocol; several keys of one get are its batch. */
static void memcached_put_one(const char *key, const char *value, size_t size) {
    int n = snprintf(room, room_size, "set %s 0 0 %zu\r\n", key, size);
    memcpy(room + n, value, size);
    memcpy(room + n + size, "\r\n", 2);
    say(room, (size_t)n + size + 2);
    hear(8);
    if (memcmp(room, "STORED\r\n", 8) != 0) {
        fail("set", "not stored");
    }
}

static void memcached_get_some(uint32_t const *which, unsigned count, size_t size) {
    char text[BATCH * (KEY + 1) + 16] = "get";
    size_t n = 3, head = 6 + KEY + 3 + digits(size) + 2, each = head + size + 2; /* VALUE key 0 size */
    for (unsigned i = 0; i < count; i++) {
        text[n++] = ' ';
        memcpy(text + n, keys[which[i]], KEY);
        n += KEY;
    }
    memcpy(text + n, "\r\n", 2);
    say(text, n + 2);
    hear(each * count + 5);
    for (unsigned i = 0; i < count; i++) {
        if (memcmp(room + i * each, "VALUE ", 6) != 0) {
            fail("get", "not there");
        }
        take(room + i * each + head, size);
    }
}

/* Redis's protocol; requests that are sent together are its batch. */
static void redis_put_one(const char *key, const char *value, size_t size) {
    int n = snprintf(room, room_size, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%zu\r\n", KEY, key, size);
    memcpy(room + n, value, size);
    memcpy(room + n + size, "\r\n", 2);
    say(room, (size_t)n + size + 2);
    hear(5);
    if (memcmp(room, "+OK\r\n", 5) != 0) {
        fail("SET", "refused");
    }
}

static void redis_get_some(uint32_t const *which, unsigned count, size_t size) {
    char text[BATCH * 40];
    size_t n = 0, head = 1 + digits(size) + 2, each = head + size + 2;
    for (unsigned i = 0; i < count; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", KEY, keys[which[i]]);
    }
    say(text, n);
    hear(each * count);
    for (unsigned i = 0; i < count; i++) {
        if (room[i * each] != '$' || room[i * each + 1] == '-') {
            fail("GET", "not there");
        }
        take(room + i * each + head, size);
    }
}

/* ---- LMDB: a read transaction for each get or batch, a write transaction for each put, nothing synced ---- */

#ifdef WITH_LMDB
static MDB_env *environment;
static MDB_txn *reader;
static MDB_dbi table;

static void lmdb_must(int rc, const char *what) {
    if (rc != 0) {
        fail(what, mdb_strerror(rc));
    }
}

static void lmdb_begin(const char *where, size_t size) {
    MDB_txn *first;
    lmdb_must(mdb_env_create(&environment), "mdb_env_create");
    lmdb_must(mdb_env_set_mapsize(environment, ((size + 512) * KEYS * 4 / 4096 + 1024) * 4096), "mdb_env_set_mapsize");
    lmdb_must(mdb_env_open(environment, where, MDB_NOSUBDIR | MDB_NOSYNC | MDB_WRITEMAP, 0600), "mdb_env_open");
    lmdb_must(mdb_txn_begin(environment, NULL, 0, &first), "mdb_txn_begin");
    lmdb_must(mdb_dbi_open(first, NULL, 0, &table), "mdb_dbi_open");
    lmdb_must(mdb_txn_commit(first), "mdb_txn_commit");
    lmdb_must(mdb_txn_begin(environment, NULL, MDB_RDONLY, &reader), "mdb_txn_begin");
    mdb_txn_reset(reader);
}

static void lmdb_put_one(const char *key, const char *value, size_t size) {
    MDB_txn *writer;
    MDB_val k = {KEY, (void *)(uintptr_t)key}, v = {size, (void *)(uintptr_t)value};
    lmdb_must(mdb_txn_begin(environment, NULL, 0, &writer), "mdb_txn_begin");
    lmdb_must(mdb_put(writer, table, &k, &v, 0), "mdb_put");
    lmdb_must(mdb_txn_commit(writer), "mdb_txn_commit");
}

static void lmdb_get_some(uint32_t const *which, unsigned count, size_t size) {
    lmdb_must(mdb_txn_renew(reader), "mdb_txn_renew");
    for (unsigned i = 0; i < count; i++) {
        MDB_val k = {KEY, keys[which[i]]}, v;
        lmdb_must(mdb_get(reader, table, &k, &v), "mdb_get");
        if (v.mv_size != size) {
            fail("mdb_get", "another one");
        }
        take(v.mv_data, v.mv_size);
    }
    mdb_txn_reset(reader);
}
#endif

/* ---- measuring ---- */

struct engine {
    const char *name;
    void (*begin)(const char *where, size_t size);
    void (*put)(const char *key, const char *value, size_t size);
    void (*get)(uint32_t const *which, unsigned count, size_t size);
};

static const struct engine engines[] = {
    {"array", array_begin, array_put_one, array_get_some},
    {"thirl", thirl_begin, thirl_put_one, thirl_get_some},
    {"memcached", connect_to, memcached_put_one, memcached_get_some},
    {"redis", connect_to, redis_put_one, redis_get_some},
#ifdef WITH_LMDB
    {"lmdb", lmdb_begin, lmdb_put_one, lmdb_get_some},
#endif
};

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint32_t dice(void) {
    static uint64_t x = 88172645463325252;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 32) % KEYS;
}

static double get_rate(const struct engine *engine, unsigned batch, size_t size, double seconds) {
    uint32_t which[BATCH];
    uint64_t gets = 0;
    double began = now(), took;
    do {
        for (int i = 0; i < 32; i++, gets += batch) {
            for (unsigned k = 0; k < batch; k++) {
                which[k] = dice();
            }
            engine->get(which, batch, size);
        }
        took = now() - began;
    } while (took < seconds);
    return (double)gets / took;
}

static double put_rate(const struct engine *engine, const char *value, size_t size, double seconds) {
    uint64_t puts = 0;
    double began = now(), took;
    do {
        for (int i = 0; i < 32; i++, puts++) {
            engine->put(keys[dice()], value, size);
        }
        took = now() - began;
    } while (took < seconds);
    return (double)puts / took;
}

int main(int count, char **words) {
    const struct engine *engine = NULL;
    for (size_t i = 0; count == 5 && i < sizeof engines / sizeof *engines; i++) {
        engine = strcmp(words[1], engines[i].name) == 0 ? &engines[i] : engine;
    }
    if (engine == NULL) {
        (void)fprintf(stderr, "usage: cache array|thirl|memcached|redis|lmdb WHERE BYTES SECONDS\n");
        return 2;
    }
    size_t size = (size_t)atol(words[3]);
    double seconds = atof(words[4]);
    char *value = malloc(size + 1);
    if (value == NULL) {
        fail("malloc", "no memory");
    }
    memset(value, 'v', size);
    engine->begin(words[2], size);
    for (uint32_t i = 0; i < KEYS; i++) {
        key_of(keys[i], i);
        engine->put(keys[i], value, size);
    }
    (void)get_rate(engine, 1, size, seconds / 10);
    double one = get_rate(engine, 1, size, seconds), many = get_rate(engine, BATCH, size, seconds);
    printf("%.0f %.0f %.0f\n", one, many, put_rate(engine, value, size, seconds));
    free(value);
    free(room);
    free(array);
    if (cache != NULL) {
        thirl_cache_close(&cache);
        return thirl_cache_remove_name(words[2]) != 0 || sum == 0;
    }
    return sum == 0;
}
