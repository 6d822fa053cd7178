/* SPDX-License-Identifier: MIT
 *
 * The whole machine: the registries that its processes have joined, as far as this one may look at them. Whoever has joined one keeps its
 * file there open, and so /proc says where it is, also when that is in a container.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool/tool.h"

#define NODE_DIGITS 16

struct registry {
    dev_t device;
    ino_t inode;
    char path[PATH_MAX + 64];
};

struct machine {
    struct registry *found;
    size_t count, room;
    bool full; /* there was no memory */
};

/* Cuts "/…/node/0123456789abcdef" down to the registry. false: it is no such path. */
static bool cut(char *path) {
    char *name = strrchr(path, '/');
    if (name == NULL || name - path < 6 || strlen(name + 1) != NODE_DIGITS ||
        strspn(name + 1, "0123456789abcdef") != NODE_DIGITS || memcmp(name - 5, "/node", 5) != 0) {
        return false;
    }
    name[-5] = '\0';
    return true;
}

static void add(struct machine *m, const char *pid, const char *path) {
    struct registry seen;
    struct stat status;
    int length = snprintf(seen.path, sizeof seen.path, "/proc/%s/root%s", pid, path);
    if (length < 0 || (size_t)length >= sizeof seen.path || stat(seen.path, &status) != 0) {
        return;
    }
    for (size_t i = 0; i < m->count; i++) {
        if (m->found[i].device == status.st_dev && m->found[i].inode == status.st_ino) return;
    }
    struct stat here;
    if (stat(path, &here) == 0 && here.st_dev == status.st_dev && here.st_ino == status.st_ino) {
        (void)snprintf(seen.path, sizeof seen.path, "%s", path); /* this process has it there, too */
    }
    if (m->count == m->room) {
        struct registry *more = realloc(m->found, (2 * m->room + 4) * sizeof *more);
        m->full = m->full || more == NULL;
        if (more == NULL) return;
        m->found = more;
        m->room = 2 * m->room + 4;
    }
    seen.device = status.st_dev;
    seen.inode = status.st_ino;
    m->found[m->count++] = seen;
}

/* What a process has open. */
static void look_into(struct machine *m, const char *pid) {
    char at[64], path[PATH_MAX];
    (void)snprintf(at, sizeof at, "/proc/%.20s/fd", pid);
    DIR *open = opendir(at);
    for (struct dirent *one; open != NULL && (one = readdir(open)) != NULL;) {
        ssize_t length = readlinkat(dirfd(open), one->d_name, path, sizeof path - 1);
        path[length > 0 ? length : 0] = '\0';
        if (cut(path)) add(m, pid, path);
    }
    if (open != NULL) (void)closedir(open);
}

static bool find(struct machine *m) {
    DIR *all = opendir("/proc");
    for (struct dirent *one; all != NULL && (one = readdir(all)) != NULL;) {
        if (strspn(one->d_name, "0123456789") == strlen(one->d_name)) look_into(m, one->d_name);
    }
    bool there = all != NULL;
    if (there) (void)closedir(all);
    return there;
}

/* In a process of its own, for one looks at one registry. Its exit code. */
static int visit(const struct tool_args *args, const char *path, int (*verb)(const struct tool_args *)) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        _exit(setenv("THIRL_DIR", path, 1) != 0 ? TOOL_OTHER : verb(args));
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : TOOL_OTHER;
}

/* Says which one it is, before what is seen there; NULL: behind the last. */
static int say(const struct tool_args *args, size_t number, const char *path) {
    struct text out;
    text_init(&out, 1);
    if (args->json) {
        text_print(&out, "%s", number == 0 ? "[" : path != NULL ? "," : "");
        if (path != NULL) {
            text_print(&out, "{\"registry\":");
            text_json(&out, path, strlen(path));
            text_print(&out, ",\"seen\":\n");
        } else {
            text_print(&out, "]\n");
        }
    } else if (path != NULL) {
        text_print(&out, "%sregistry %s:\n", number == 0 ? "" : "\n", path);
    }
    return (int)text_finish(&out, args);
}

/* Of two exit codes the one that matters more: what is ill, what cannot be known, what is a risk. */
static int worse(int a, int b) {
    static const int order[] = {TOOL_ILL, TOOL_OTHER, TOOL_DENIED, TOOL_RISK};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (a == order[i] || b == order[i]) return order[i];
    }
    return a > b ? a : b;
}

int tool_each_registry(const struct tool_args *args, int (*verb)(const struct tool_args *)) {
    struct machine m = {.count = 0};
    if (!find(&m) || m.full) {
        tool_say(args, m.full ? "no memory for what is seen" : "there is no /proc, which says where registries are");
        free(m.found);
        return TOOL_OTHER;
    }
    int code = TOOL_DONE;
    for (size_t i = 0; i < m.count; i++) {
        code = worse(code, say(args, i, m.found[i].path));
        code = worse(code, visit(args, m.found[i].path, verb));
        if (args->json) {
            struct text end;
            text_init(&end, 1);
            text_print(&end, "}");
            code = worse(code, (int)text_finish(&end, args));
        }
    }
    if (args->json) {
        code = worse(code, say(args, m.count, NULL));
    } else if (m.count == 0) {
        tool_say(args, "no process that can be seen here has joined a registry");
    }
    free(m.found);
    return code;
}
