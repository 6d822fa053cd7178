/* SPDX-License-Identifier: MIT
 *
 * The main of a target in the tests: every file of its corpus (tests/fuzz/corpus/TARGET), then inputs made of them by a fixed
 * row of dice, always the same. An input that ends the program is printed, to become a file of the corpus. With arguments:
 * these files only.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/fuzz/fuzz.h"

#define MUTATIONS 4000
#define TIME_MAX CLOCK_S /* of the processor, for all of them */
#define SIZE_MAX_OF_ONE 4096
#define FILES 400

struct sample {
    size_t size;
    uint8_t *data;
};

static struct sample samples[FILES], current;
static size_t count;
static uint64_t dice_state = 20;

void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));

static uint64_t dice(uint64_t below) {
    uint64_t x = dice_state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (x ^ x >> 31) % below;
}

/* Also out of a signal. */
static void show(void) {
    static const char title[] = "the input was (xxd -r -p makes a file of it):\n", digit[] = "0123456789abcdef";
    (void)!write(STDERR_FILENO, title, sizeof title - 1);
    for (size_t i = 0; i < current.size; i++) {
        const char text[] = {digit[current.data[i] >> 4], digit[current.data[i] & 15], '\n'};
        (void)!write(STDERR_FILENO, text, i % 40 == 39 || i + 1 == current.size ? 3 : 2);
    }
}

static void die(int signal_number) {
    show();
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

/* In memory of exactly its size, so that a sanitizer sees what is read behind it. */
static void try(const uint8_t *data, size_t size) {
    current = (struct sample){size, malloc(size == 0 ? 1 : size)};
    if (current.data == NULL) {
        abort();
    }
    memcpy(current.data, data, size);
    (void)alarm(30);
    (void)LLVMFuzzerTestOneInput(current.data, size);
    free(current.data);
}

static bool load(const char *path, struct sample *sample) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    sample->data = calloc(1, SIZE_MAX_OF_ONE);
    sample->size = sample->data == NULL ? 0 : fread(sample->data, 1, SIZE_MAX_OF_ONE, file);
    (void)fclose(file);
    return sample->data != NULL;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_all(const char *directory) {
    struct dirent **entries;
    int found = scandir(directory, &entries, NULL, by_name);
    for (int i = 0; i < found; i++) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && count < FILES && load(path, &samples[count])) {
            count++;
        }
        free(entries[i]);
    }
    if (found >= 0) {
        free(entries);
    }
}

static void mutate(uint8_t *data, size_t *size) {
    static const uint64_t odd[] = {0,      1,          0x7f,       0x80,       0xff,      0x7fff,
                                   0xffff, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX};
    const struct sample *other = &samples[dice(count)];
    size_t at = *size == 0 ? 0 : dice(*size), room = SIZE_MAX_OF_ONE - *size, some;
    switch (dice(7)) {
    case 0:
        data[at] ^= (uint8_t)(1u << dice(8));
        break;
    case 1:
        data[at] = (uint8_t)dice(256);
        break;
    case 2: /* a number that somebody may have forgotten */
        some = (size_t)1 << dice(4);
        some = some < *size - at ? some : *size - at;
        memcpy(data + at, &odd[dice(sizeof odd / sizeof *odd)], some);
        break;
    case 3:
        *size = at;
        break;
    case 4: /* leaves a piece out */
        some = dice(*size - at + 1);
        memmove(data + at, data + at + some, *size - at - some);
        *size -= some;
        break;
    case 5: /* says a piece twice */
        some = dice(*size - at + 1);
        some = some < room ? some : room;
        memmove(data + at + some, data + at, *size - at);
        *size += some;
        break;
    default: /* goes on as another one does */
        some = other->size > at ? other->size - at : 0;
        memcpy(data + at, other->data + at, some);
        *size = at + some;
        break;
    }
}

static int64_t spent(void) {
    struct timespec time;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * CLOCK_S + time.tv_nsec;
}

static void try_mutations(void) {
    static uint8_t data[SIZE_MAX_OF_ONE + 8];
    int64_t late = spent() + TIME_MAX;
    int done = 0;
    for (; count != 0 && done < MUTATIONS && (done % 16 != 0 || spent() < late); done++) {
        const struct sample *from = &samples[dice(count)];
        size_t size = from->size;
        memcpy(data, from->data, size);
        for (uint64_t n = 1 + dice(4); n != 0; n--) {
            mutate(data, &size);
        }
        try(data, size);
    }
    (void)printf("ok mutations of them: %d\n", done);
}

int main(int argc, char **argv) {
    char directory[256];
    const char *slash = strrchr(argv[0], '/'), *name = slash == NULL ? argv[0] : slash + 1;
    const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        (void)signal(signals[i], die);
    }
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(show);
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)snprintf(directory, sizeof directory, "tests/fuzz/corpus/%s", name);
    if (argc == 1) {
        load_all(directory);
    }
    for (int i = 1; i < argc && count < FILES; i++) {
        count += load(argv[i], &samples[count]);
    }
    for (size_t i = 0; i < count; i++) {
        try(samples[i].data, samples[i].size);
    }
    (void)printf("%sok %s: %zu inputs\n", count == 0 ? "not " : "", directory, count);
    if (argc == 1) {
        try_mutations();
    }
    for (size_t i = 0; i < count; i++) {
        free(samples[i].data);
    }
    return count == 0;
}
