/* SPDX-License-Identifier: MIT
 *
 * The verbs help and version: everything they say of verbs, options and exit codes comes from the tables in tool.h.
 */
#include <stdio.h>
#include <string.h>

#include "tool/tool.h"

static const char *verb_at(size_t index, unsigned bit) {
    (void)bit;
    return tool_verbs[index].name;
}

static void usage(struct text *t, const struct tool_verb *verb) {
    const char *before = verb->needs_operand ? " " : " [", *after = verb->needs_operand ? "" : "]";
    text_print(t, "Usage: thirl %s", verb->name);
    if (verb->operand) {
        text_print(t, "%s%s%s", before, verb->operand, after);
    }
    text_print(t, " [OPTION]...\n");
}

static void one(struct text *t, const struct tool_verb *verb) {
    usage(t, verb);
    text_print(t, "\nthirl %s: %s.\n", verb->name, verb->summary);
    if (*verb->text) {
        text_print(t, "%s%s", "\n", verb->text);
    }
    text_print(t, "\nOptions:\n");
    for (const struct tool_option *o = tool_options; o->name; o++) {
        char left[40], letter[] = {'-', o->letter, ',', 0};
        if (!(o->verbs & verb->bit)) {
            continue;
        }
        snprintf(left, sizeof left, "%3s --%s %s", o->letter ? letter : "", o->name, o->argument ? o->argument : "");
        text_print(t, "  %-20s %s\n", left, o->text);
    }
}

static void all(struct text *t) {
    text_print(t, "Usage: thirl VERB [OPERAND] [OPTION]...\n\nVerbs:\n");
    for (const struct tool_verb *v = tool_verbs; v->name; v++) {
        text_print(t, "  %-10s %-8s %s\n", v->name, v->operand ? v->operand : "", v->summary);
    }
    text_print(t, "\nthirl help VERB shows the options of a verb; an address is explained in thirl(7).\n"
                  "\nExit codes:\n");
#define PRINT_EXIT(name, code, text) text_print(t, "  %3d  %s\n", code, text);
    TOOL_EXITS(PRINT_EXIT)
#undef PRINT_EXIT
    text_print(t, "\nEnvironment:\n  THIRL_DIR  the registry directory; /dev/shm/thirl-UID without it\n");
}

int tool_help(const struct tool_args *args) {
    static struct text out;
    const struct tool_verb *verb = tool_verbs;
    text_init(&out, 1);
    if (!args->operand) {
        all(&out);
        return text_finish(&out, args);
    }
    while (verb->name && strcmp(verb->name, args->operand) != 0) {
        verb++;
    }
    if (!verb->name) {
        const char *near = option_nearest(args->operand, verb_at, 0);
        tool_say(args, "unknown verb \"%s\"%s%s%s", args->operand, near ? "; did you mean " : "", near ? near : "",
                 near ? "?" : "; thirl help shows the known ones");
        return TOOL_USAGE;
    }
    one(&out, verb);
    return text_finish(&out, args);
}

/* A scheme with several mechanisms, for different roles or by an option, is named once. */
struct names {
    struct text *out;
    const char *last;
    bool json;
};

static int print_name(void *context, const struct thirl_mechanism *mechanism) {
    struct names *names = context;
    if (!names->last || strcmp(names->last, mechanism->scheme) != 0) {
        text_print(names->out, names->json ? "%s\"%s\"" : "%s%s", names->last ? (names->json ? "," : " ") : "",
                   mechanism->scheme);
        names->last = mechanism->scheme;
    }
    return 0;
}

int tool_version(const struct tool_args *args) {
    static struct text out;
    struct names names = {&out, NULL, args->json};
    text_init(&out, 1);
    if (args->json) {
        text_print(&out, "{\"name\":\"thirl\",\"version\":\"%s\",\"mechanisms\":[", THIRL_VERSION);
        (void)!thirl_mechanisms(print_name, &names);
        text_print(&out, "]}\n");
    } else {
        text_print(&out, "thirl %s\nmechanisms: ", THIRL_VERSION);
        (void)!thirl_mechanisms(print_name, &names);
        text_print(&out, "\n");
    }
    return text_finish(&out, args);
}
