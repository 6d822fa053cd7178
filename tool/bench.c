/* SPDX-License-Identifier: MIT
 *
 * The verb bench: becomes the program thirl-bench, which stands beside the tool, or elsewhere in PATH.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool/tool.h"

#define PROGRAM "thirl-bench"

/* Where the tool itself is; "" if the system does not say. */
static void find_beside(char *path, size_t capacity) {
    ssize_t length = readlink("/proc/self/exe", path, capacity - sizeof PROGRAM - 1);
    path[length > 0 ? length : 0] = 0;
    char *slash = strrchr(path, '/');
    if (slash) {
        strcpy(slash + 1, PROGRAM); // NOLINT(clang-analyzer-security.insecureAPI.strcpy): there is room for it
    }
}

int tool_bench(const struct tool_args *args) {
    char path[4096], *none[] = {NULL};
    char **rest = args->command ? args->command : none;
    size_t count = 0;
    while (rest[count]) {
        count++;
    }
    char **words = calloc(count + 2, sizeof *words);
    if (!words) {
        tool_say(args, "no memory for %zu words", count);
        return TOOL_OTHER;
    }
    words[0] = (char[]){PROGRAM};
    memcpy(words + 1, rest, count * sizeof *words);
    find_beside(path, sizeof path);
    (void)execv(path, words);
    if (errno == ENOENT) {
        (void)execvp(PROGRAM, words);
    }
    tool_say(args, "cannot run %s, which is installed with this tool: %s", PROGRAM, strerror(errno));
    free(words);
    return errno == EACCES ? TOOL_DENIED : TOOL_OTHER;
}
