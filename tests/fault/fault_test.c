/* SPDX-License-Identifier: MIT
 *
 * Every call that fails. A victim opens an end, sends, receives, waits and closes, over each mechanism and in each role, and one call of
 * libc that the library makes meanwhile fails with one of its errors, or all do from then on. Whatever it is told, each answer
 * comes in time and has a sentence, what it receives is whole and in order, and then it does the same once more, undisturbed, with the same
 * peer: that must succeed, and neither of them may hold a descriptor, memory or a file more than one that nothing happened to.
 *
 * Without more, the same few are tried: FAULT_ONE_IN=1 tries each, FAULT_ONLY='openat 3 EMFILE lasting' those that are called so, * for any.
 * FAULT_DONE names a file of scenes that are done and passed over. FAULT_SAY=1 says what each call answers.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <fnmatch.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/play.h"
#include "tests/conform/stage.h"
#include "tests/fault/fault.h"

#define MOST 60  /* passes of one call: what is called more often waits in a loop */
#define HANGS 40 /* s */

static struct play_scene scene;
static struct conform where;
static uint32_t base; /* numbers of a victim are larger than those of the one before it */

/* What one that nothing happened to has at its end. */
struct report {
    unsigned descriptors, passes[128];
    long blocks, mapped; /* KiB */
    uintptr_t site;
};

static long mapped(void) {
    char line[512], name[256];
    long sum = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    must(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long from, to;
        name[0] = '\0';
        must(sscanf(line, "%lx-%lx %*s %*s %*s %*s %255s", &from, &to, name) >= 2);
        if (strcmp(name, "[heap]") != 0 && strcmp(name, "[stack]") != 0) sum += (long)((to - from) >> 10);
    }
    fclose(file);
    return sum;
}

static void be_the_victim(const struct fault *fault, int tellings) {
    static struct play_pass hurt = {.armed = &fault_armed}, whole = {.whole = true};
    struct report report = {0};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(HANGS);
    fault_set(fault);
    hurt.calm = fault->pass == 0;
    hurt.number = base;
    whole.number = base + 5000;
    play_run(&hurt);
    must(fault->pass != 0 || hurt.failures == 0);
    memcpy(report.passes, fault_passes, fault_count * sizeof *fault_passes);
    report.site = fault_site;
    play_run(&whole);
    report.descriptors = conform_lines_of("/proc/self/fd");
    report.blocks = fault_blocks;
    report.mapped = mapped();
    must_be(write(tellings, &report, sizeof report), sizeof report);
    exit(0);
}

/* ---- one scene ---- */

static struct report usual;
static unsigned files_usual, tried, refused, turn, one_in = 1;

static bool run_victim(const struct fault *fault, struct report *report) {
    int tellings[2];
    must_be(pipe2(tellings, O_CLOEXEC), 0);
    base += 10000;
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        close(tellings[0]);
        be_the_victim(fault, tellings[1]);
    }
    close(tellings[1]);
    int status = stage_await(pid, (HANGS + 10) * 1000);
    bool fine = status == 0 && read(tellings[0], report, sizeof *report) == (ssize_t)sizeof *report;
    close(tellings[0]);
    if (status == -1 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)) {
        fprintf(stderr, "it hangs\n");
    } else if (WIFSIGNALED(status)) {
        fprintf(stderr, "it was killed by signal %d\n", WTERMSIG(status));
    }
    return fine;
}

static const struct fault nothing;

/* Does it hold, or leave, no more than others do? */
static bool is_clean(const struct report *report) {
    bool clean = report->descriptors <= usual.descriptors && report->blocks <= usual.blocks &&
                 (report->mapped <= usual.mapped || conform_sanitized());
    if (!clean) {
        fprintf(stderr, "it holds %u descriptors, %ld blocks, %ld KiB; not %u, %ld, %ld\n", report->descriptors,
                report->blocks, report->mapped, usual.descriptors, usual.blocks, usual.mapped);
    }
    if (play_files() > files_usual) { /* what could not be removed is swept by the next one */
        struct report again;
        clean = run_victim(&nothing, &again) && clean;
        unsigned files = play_files();
        if (files > files_usual) {
            fprintf(stderr, "it leaves %u files, not %u\n", files, files_usual);
            clean = false;
        }
    }
    return clean;
}

static bool try_one(const struct fault *fault, bool *reached) {
    struct report report = {0};
    bool fine = run_victim(fault, &report) && is_clean(&report);
    *reached = fine && report.site != 0;
    tried++;
    refused += *reached;
    if (!fine) {
        const char *error = fault->error < 0 ? "EAI" : strerrorname_np(fault->error);
        printf("not so: %s: FAULT_ONLY='%s %u %s%s' (at %#lx)\n", scene.name, fault_calls[fault->call].name,
               fault->pass, error, fault->lasting ? " lasting" : "", (unsigned long)report.site);
        fflush(stdout);
    }
    return fine;
}

/* Is it one that was asked for? */
static bool is_meant(const struct fault *fault) {
    const char *only = getenv("FAULT_ONLY");
    char name[96];
    snprintf(name, sizeof name, "%s %u %s%s", fault_calls[fault->call].name, fault->pass,
             fault->error < 0 ? "EAI" : strerrorname_np(fault->error), fault->lasting ? " lasting" : "");
    /* Without a campaign always the same ones: of each thing that a process may lack, one while it opens. */
    static const char *const few[] = {"openat 1 EMFILE", "openat 9 EMFILE", "mmap 2 ENOMEM", "fallocate 1 ENOSPC",
                                      "socket 1 EMFILE"};
    for (size_t i = 0; one_in == 0 && only == NULL && i < sizeof few / sizeof *few; i++) {
        if (strcmp(few[i], name) == 0) {
            return true;
        }
    }
    return only != NULL ? fnmatch(only, name, 0) == 0 : one_in != 0 && turn++ % one_in == 0;
}

static bool try_call(size_t call) {
    bool fine = true;
    const int *errors = fault_calls[call].errors;
    for (const int *error = errors; *error != 0; error++) {
        for (int lasting = 0; lasting <= (int)fault_lasts(*error); lasting++) {
            bool reached = true;
            for (unsigned pass = 1; reached && pass <= MOST && pass <= usual.passes[call] + 2; pass++) {
                const struct fault fault = {call, pass, *error, lasting != 0};
                if (is_meant(&fault)) {
                    fine = try_one(&fault, &reached) && fine;
                }
            }
        }
    }
    return fine;
}

static bool play(void) {
    tried = refused = 0;
    turn = 0;
    for (const char *at = scene.name; one_in > 1 && *at != '\0'; at++) {
        turn = turn * 31 + (unsigned char)*at; /* each scene tries others */
    }
    play_begin(&where, &scene);
    bool fine = run_victim(&nothing, &usual);
    files_usual = play_files();
    if (!fine) {
        printf("not so: %s: even where nothing fails\n", scene.name);
    }
    for (size_t call = 0; fine && call < fault_count; call++) {
        fine = usual.passes[call] == 0 || try_call(call);
    }
    int status = play_over();
    if (status != 0) {
        printf("not so: %s: the peer ended with %#x\n", scene.name, (unsigned)status);
    }
    printf("%s: %u calls failed, of %u that were to\n", scene.name, refused, tried);
    fflush(stdout);
    return fine && status == 0;
}

/* ---- all scenes ---- */

static void play_group(const struct conform *c, const char *name) {
    where = *c;
    const char *wanted = getenv("FAULT_ONE_IN");
    one_in = wanted != NULL ? (unsigned)strtoul(wanted, NULL, 10) : 0;
    (void)unshare(CLONE_NEWIPC); /* where that is allowed: queues are counted */
    play_both(c, name, "FAULT_DONE", &scene, play);
}

#define GROUP(name)                                                                                                    \
    static void name(struct conform *c) {                                                                              \
        play_group(c, #name);                                                                                          \
    }
PLAY_GROUPS(GROUP)

int main(int argc, char **argv) {
    static const struct conform_test all[] = {PLAY_TESTS};
    static const struct conform_test few[] = {
        CONFORM_ONLY(pair, "shm"),       CONFORM_ONLY(pull, "shm-queue"),  CONFORM_ONLY(push, "shm-queue"),
        CONFORM_ONLY(sub, "shm-cast"),   CONFORM_ONLY(call, "shm-call"),   CONFORM_ONLY(serve, "shm-call"),
        CONFORM_ONLY(pair, "unix-path"), CONFORM_ONLY(reader, "tcp4"),     CONFORM_ONLY(push, "sysv"),
        CONFORM_ONLY(pull, "sysv"),      CONFORM_ONLY(watch, "shm-event"), CONFORM_ONLY(pub, "cast-unix"),
    };
    if (getenv("FAULT_ONE_IN") != NULL || getenv("FAULT_ONLY") != NULL) {
        return conform_main(all, sizeof all / sizeof *all, argc, argv);
    }
    return conform_main(few, sizeof few / sizeof *few, argc, argv);
}
