/* SPDX-License-Identifier: MIT
 *
 * The verb clean: removes what channels without living ends have left in the kernel, and says what was in it; by its name also an area, a
 * state, a cache or a lock that nobody has open.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/tool.h"

struct clean {
    struct text out;
    bool json, full;
    size_t objects, count;
    char **addresses;
};

/* Noted first and removed then: whoever lists does not want it to change meanwhile. */
static int note(void *context, const struct thirl_left *left) {
    struct clean *c = context;
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->addresses[i], left->address) == 0) {
            return 0;
        }
    }
    char **larger = left->ends ? NULL : realloc(c->addresses, (c->count + 1) * sizeof *larger);
    if (!larger) {
        c->full = c->full || !left->ends;
        return 0;
    }
    c->addresses = larger;
    c->addresses[c->count] = strdup(left->address);
    c->full = c->full || !c->addresses[c->count];
    c->count += c->addresses[c->count] != NULL;
    return 0;
}

/* An area, a state, a cache or a lock, which nobody loses unasked: by its name only. */
static int discard(struct clean *c, const char *address) {
    int code = thirl_discard(address);
    if (code < 0) {
        return code;
    }
    if (c->json) {
        text_print(&c->out, "{\"address\":");
        text_json(&c->out, address, strlen(address));
        text_print(&c->out, ",\"removed\":true}");
    } else {
        text_print(&c->out, "%s: removed\n", address);
    }
    return 0;
}

static int clean(struct clean *c, const char *address) {
    int code = thirl_clean(address);
    if (code < 0) {
        return code;
    }
    if (c->json) {
        text_print(&c->out, "%s{\"address\":", c->objects++ ? ",\n " : "");
        text_json(&c->out, address, strlen(address));
        text_print(&c->out, ",\"messages\":%d}", code);
    } else {
        text_print(&c->out, "%s: %d message%s thrown away\n", address, code, code == 1 ? "" : "s");
    }
    return 0;
}

static int clean_all(struct clean *c, const struct tool_args *args) {
    int worst = thirl_left(note, c);
    if (worst < 0) {
        tool_say(args, "%s", thirl_why());
        return tool_exit_of(worst);
    }
    for (size_t i = 0; i < c->count; i++) {
        int code = clean(c, c->addresses[i]);
        if (code < 0 && code != -ENOENT && code != -EBUSY) { /* somebody was quicker, or needs it again */
            tool_say(args, "%s", thirl_why());
            worst = code;
        }
        free(c->addresses[i]);
    }
    free(c->addresses);
    if (c->full) {
        tool_say(args, "no memory for the list");
        return TOOL_OTHER;
    }
    return worst < 0 ? (int)tool_exit_of(worst) : TOOL_DONE;
}

int tool_clean(const struct tool_args *args) {
    static struct clean c;
    int code;
    text_init(&c.out, 1);
    c.json = args->json;
    text_print(&c.out, "%s", c.json ? "[" : "");
    if (args->all) {
        code = clean_all(&c, args);
    } else {
        code = clean(&c, args->operand);
        char why[512] = "";
        (void)snprintf(why, sizeof why, "%s", code < 0 ? thirl_why() : "");
        int other = code == -ENOENT ? discard(&c, args->operand) : code;
        if (other < 0) { /* what is neither has left nothing */
            tool_say(args, "%s", other == -ENOENT || other == -THIRL_EADDRESS ? why : thirl_why());
            return tool_exit_of(other == -THIRL_EADDRESS ? -ENOENT : other);
        }
        code = TOOL_DONE;
    }
    text_print(&c.out, "%s", c.json ? "]\n" : "");
    int finished = text_finish(&c.out, args);
    return code != TOOL_DONE ? code : finished;
}
