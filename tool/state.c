/* SPDX-License-Identifier: MIT
 *
 * The verb state: prints the latest value, each new one, or writes one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <thirl/state.h>

#include "tool/tool.h"

#define STRETCH_MS 200 /* a signal is noticed so soon */

static enum tool_exit fail(const struct tool_args *args, int code) {
    tool_say(args, "%s", thirl_why());
    return tool_exit_of(code);
}

static int64_t left(int64_t deadline, int64_t now) {
    return deadline == INT64_MAX || deadline - now > STRETCH_MS * INT64_C(1000000) ? STRETCH_MS * INT64_C(1000000)
                                                                                   : deadline - now;
}

/* Waits for another value than that. TOOL_DONE; or the exit code. */
static int await(const struct tool_args *args, thirl_state *state, uint64_t *version) {
    int64_t now = thirl_in_ns(0).ns, deadline = args->timeout == INT64_MAX ? INT64_MAX : now + args->timeout;
    for (int rc = -ETIMEDOUT; rc == -ETIMEDOUT; now = thirl_in_ns(0).ns) {
        if (stop_exit()) {
            return stop_exit();
        }
        if (now > deadline) {
            return fail(args, -ETIMEDOUT);
        }
        rc = thirl_state_wait(state, version, thirl_in_ns(left(deadline, now)));
        if (rc != 0 && rc != -ETIMEDOUT) {
            return fail(args, rc);
        }
    }
    return TOOL_DONE;
}

static int print(const struct tool_args *args, thirl_state *state, char *buffer, uint64_t *version) {
    struct text out;
    size_t size = 0;
    int rc = thirl_state_get(state, buffer, thirl_state_max(state), &size, version);
    if (rc != 0) {
        return fail(args, rc);
    }
    text_init(&out, 1);
    text_bytes(&out, buffer, size);
    text_bytes(&out, "\n", 1);
    return text_finish(&out, args);
}

static int show(const struct tool_args *args, thirl_state *state) {
    uint64_t version = 0;
    char *buffer = malloc(thirl_state_max(state));
    int code = TOOL_OTHER;
    if (!buffer) {
        tool_say(args, "no memory for a value of this state");
        return code;
    }
    do {
        code = args->watch ? await(args, state, &version) : TOOL_DONE;
        code = code ? code : print(args, state, buffer, &version);
    } while (args->watch && !code);
    free(buffer);
    return code;
}

int tool_state(const struct tool_args *args) {
    struct thirl_state_options options = {.size = sizeof options};
    size_t size = args->message ? strlen(args->message) : 0;
    thirl_state *state;
    stop_init();
    options.access = args->message ? THIRL_ACCESS_WRITE : THIRL_ACCESS_READ;
    options.max = size > 4096 ? size : 0;
    int rc = thirl_state_open(&state, args->operand, &options);
    if (rc) {
        return fail(args, rc);
    }
    int code = TOOL_DONE;
    if (args->message) {
        rc = thirl_state_set(state, args->message, size,
                             args->timeout == INT64_MAX ? THIRL_NEVER : thirl_in_ns(args->timeout));
        code = rc ? (int)fail(args, rc) : TOOL_DONE;
    } else {
        code = show(args, state);
    }
    thirl_state_close(&state);
    return code;
}
