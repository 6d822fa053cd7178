/* SPDX-License-Identifier: MIT
 *
 * The campaign. Who directs it opens nothing itself.
 */
#define _GNU_SOURCE
#include "tests/peer/mail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "tests/room.h"

#define MOST (UINT64_C(1) << 26) /* messages of one campaign */
#define STALL_NS (2 * CLOCK_S)

struct message {
    uint64_t number, sum[MAIL_SIZE / 8 - 1];
};

static struct board {
    uint64_t next, came; /* the next number; how many messages have come */
    uint64_t doubled, torn, told;
    uint32_t over[2]; /* the receiver, the sender end in order */
    uint32_t opened[2], failed;
    unsigned char sent[MOST], seen[MOST];
} * board;

static const struct mail *mail;
static char where[64];

static void fill(struct message *m, uint64_t number) {
    m->number = number;
    for (size_t i = 0; i < sizeof m->sum / sizeof *m->sum; i++) {
        m->sum[i] = (number + i) * UINT64_C(0x9e3779b97f4a7c15);
    }
}

static void take_in(const struct message *m, int again) {
    struct message same;
    fill(&same, m->number);
    if (m->number >= MOST || memcmp(m, &same, sizeof same) != 0) {
        (void)atomic_add(&board->torn, 1);
        return;
    }
    if (__atomic_fetch_add(&board->seen[m->number], 1, __ATOMIC_RELAXED) != 0) {
        (void)atomic_add(again ? &board->told : &board->doubled, 1);
    }
    (void)atomic_add(&board->came, 1);
}

static int play(int sends) {
    struct message m;
    int rc = 0, again = 0;
    while (atomic_load(&board->over[sends]) == 0 && rc >= 0) {
        if (!sends) {
            again = 0;
            rc = mail->get(&m, &again);
            if (rc == 0) {
                take_in(&m, again);
                mail->done != NULL ? mail->done() : (void)0;
            }
            continue;
        }
        uint64_t number = atomic_add(&board->next, 1);
        if (number >= MOST) {
            room_sleep(CLOCK_MS);
            continue;
        }
        if (number % 64 == 0) {
            room_sleep(50 * CLOCK_US); /* or a fast one would run out of numbers before it is killed often enough */
        }
        fill(&m, number);
        for (rc = MAIL_NONE; rc == MAIL_NONE && atomic_load(&board->over[1]) == 0;) {
            rc = mail->put(&m);
        }
        atomic_poke(&board->sent[number], rc == 0);
    }
    return rc < 0 ? -1 : 0;
}

static pid_t start(int sends) {
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGABRT, SIG_DFL);
    if (mail->open(where, sends) != 0) {
        (void)atomic_add(&board->failed, 1);
        _exit(1);
    }
    (void)atomic_add(&board->opened[sends], 1);
    if (play(sends) != 0) {
        _exit(1); /* then somebody else has to come */
    }
    mail->close();
    exit(0); /* so that the library hears of it */
}

static void slay(pid_t pid) {
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

/* Waits until so many more have come. false: they have not, for two seconds. Who ends by himself is replaced. */
static bool await(pid_t player[2], uint64_t more) {
    uint64_t wanted = atomic_load(&board->came) + more;
    for (int64_t until = clock_now() + STALL_NS; atomic_load(&board->came) < wanted;) {
        for (int i = 0; i < 2; i++) {
            if (player[i] > 0 && waitpid(player[i], NULL, WNOHANG) == player[i]) {
                player[i] = start(i);
            }
        }
        if (clock_now() > until) {
            return false;
        }
        room_sleep(50 * CLOCK_US);
    }
    return true;
}

static void begin_anew(pid_t player[2], struct mail_tale *tale) {
    tale->stalls++;
    for (int i = 0; i < 2; i++) {
        slay(player[i]);
    }
    if (mail->remove != NULL) {
        mail->remove(where);
    }
    for (int i = 0; i < 2; i++) {
        player[i] = start(i);
    }
}

/* Below that directory; with `of`, only those whose names hold it. */
static unsigned count_files(const char *path, const char *of) {
    unsigned count = 0;
    DIR *list = opendir(path);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        char below[400];
        (void)snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        bool meant = entry->d_name[0] != '.' && (of == NULL || strstr(entry->d_name, of) != NULL);
        count += !meant ? 0 : entry->d_type == DT_DIR ? count_files(below, NULL) : 1;
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return count;
}

static unsigned count_left(void) {
    const char *name = strrchr(where, '/') + 1;
    return count_files("/dev/shm", name) + count_files("/dev/mqueue", name);
}

/* Ends in order, or has to. */
static void slay_late(pid_t pid) {
    for (int64_t until = clock_now() + 3 * CLOCK_S; waitpid(pid, NULL, WNOHANG) == 0; room_sleep(CLOCK_MS)) {
        if (clock_now() > until) {
            slay(pid);
            return;
        }
    }
}

/* The sender ends, what is on its way comes, and then the receiver ends. */
static void end(pid_t player[2]) {
    atomic_store(&board->over[1], 1u);
    slay_late(player[1]);
    player[1] = 0;
    while (await(player, 1)) continue;
    atomic_store(&board->over[0], 1u);
    slay_late(player[0]);
}

static void tell(struct mail_tale *tale) {
    uint64_t most = board->next < MOST ? board->next : MOST;
    for (uint64_t i = 0; i < most; i++) {
        tale->sent += board->sent[i];
        tale->lost += board->sent[i] != 0 && board->seen[i] == 0;
    }
    tale->doubled = board->doubled;
    tale->torn = board->torn;
    tale->told = board->told;
}

int mail_run(const struct mail *m, unsigned kills, struct mail_tale *tale) {
    pid_t player[2];
    mail = m;
    memset(tale, 0, sizeof *tale);
    (void)snprintf(where, sizeof where, "/dev/shm/thirl-mail.XXXXXX");
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (board == MAP_FAILED || mkdtemp(where) == NULL) {
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        player[i] = start(i);
    }
    bool runs = await(player, 100);
    for (; runs && tale->kills < kills && atomic_load(&board->next) < MOST; tale->kills++) {
        int sends = (int)room_dice(2);
        room_sleep((int64_t)room_dice(2000) * CLOCK_US);
        slay(player[sends]);
        tale->senders += (unsigned)sends;
        player[sends] = start(sends);
        for (bool on = await(player, 20); !on; on = await(player, 20)) {
            begin_anew(player, tale);
        }
    }
    end(player);
    tell(tale);
    for (int i = 0; i < 2; i++) { /* what the dead have left may go when the next one comes */
        slay_late(start(i));
    }
    tale->left = count_left();
    if (mail->remove != NULL) {
        mail->remove(where);
    }
    char command[100];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", where);
    (void)munmap(board, sizeof *board);
    return system(command) != 0 || !runs ? -1 : 0;
}
