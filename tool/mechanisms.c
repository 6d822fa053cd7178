/* SPDX-License-Identifier: MIT
 *
 * The verb mechanisms: what each claims on this machine, with default options.
 */
#include <stdio.h>
#include <string.h>

#include "tool/tool.h"

enum { COLUMNS = 9 };

struct claims {
    struct text out;
    struct text_table table;
    bool json;
    size_t objects;
};

static const struct role {
    uint32_t number;
    const char *name;
} roles[] = {
#define ROLE_ROW(name, number, text) {number, text},
    THIRL_ROLES(ROLE_ROW)
#undef ROLE_ROW
};
#define ROLES (sizeof roles / sizeof *roles)

static const char *list_roles(char out[160], uint32_t carried, const char *quote, const char *comma) {
    *out = 0;
    for (size_t i = 0; i < ROLES; i++) {
        if (carried & 1u << roles[i].number) {
            size_t used = strlen(out);
            snprintf(out + used, 160 - used, "%s%s%s%s", used ? comma : "", quote, roles[i].name, quote);
        }
    }
    return out;
}

static const char *holds(char out[160], const struct thirl_limits *l) {
    const struct {
        uint64_t value;
        const char *name;
    } all[] = {{l->boundaries, "boundaries"},    {l->ordered, "ordered"},         {l->reliable, "reliable"},
               {l->zero_copy, "zero-copy"},      {l->descriptors, "descriptors"}, {l->identity, "identity"},
               {l->cross_host, "cross-host"},    {l->pollable, "pollable"},       {l->raw, "raw"},
               {l->priorities > 1, "priorities"}};
    *out = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].value) {
            size_t used = strlen(out);
            snprintf(out + used, 160 - used, "%s%s", used ? "," : "", all[i].name);
        }
    }
    return out;
}

static const char *number(char out[24], uint64_t value, const char *none) {
    snprintf(out, 24, "%llu", (unsigned long long)value);
    return value ? out : none;
}

static void add_row(struct claims *c, const struct thirl_mechanism *m) {
    const struct thirl_limits *l = &m->limits;
    char carried[160], claimed[160], max[TEXT_SIZE_MAX], atomic[TEXT_SIZE_MAX], queue[TEXT_SIZE_MAX], senders[24],
        receivers[24], ends[56];
    snprintf(ends, sizeof ends, "%s:%s", number(senders, l->senders, "any"), number(receivers, l->receivers, "any"));
    char slots[24];
    const char *cells[COLUMNS] = {m->scheme,
                                  list_roles(carried, m->roles, "", ","),
                                  text_size(max, (double)l->message_max),
                                  l->atomic_max ? text_size(atomic, (double)l->atomic_max) : NULL,
                                  text_size(queue, (double)l->queue),
                                  number(slots, l->queue_messages, "-"),
                                  ends,
                                  holds(claimed, l),
                                  m->summary};
    text_row(&c->table, cells);
}

static void add_object(struct claims *c, const struct thirl_mechanism *m) {
    const struct thirl_limits *l = &m->limits;
    char carried[160];
    const struct {
        const char *name;
        uint64_t value;
    } flags[] = {{"sends", l->sends},
                 {"receives", l->receives},
                 {"boundaries", l->boundaries},
                 {"ordered", l->ordered},
                 {"reliable", l->reliable},
                 {"zero_copy", l->zero_copy},
                 {"identity", l->identity},
                 {"descriptors", l->descriptors},
                 {"cross_host", l->cross_host},
                 {"pollable", l->pollable},
                 {"raw", l->raw}},
      numbers[] = {{"message_max", l->message_max},       {"atomic_max", l->atomic_max}, {"queue", l->queue},
                   {"queue_messages", l->queue_messages}, {"senders", l->senders},       {"receivers", l->receivers},
                   {"priorities", l->priorities}};
    text_print(&c->out, "%s{\"scheme\":\"%s\",\"summary\":", c->objects++ ? ",\n " : "", m->scheme);
    text_json(&c->out, m->summary, strlen(m->summary));
    text_print(&c->out, ",\"roles\":[%s]", list_roles(carried, m->roles, "\"", ","));
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        text_print(&c->out, ",\"%s\":%s", flags[i].name, flags[i].value ? "true" : "false");
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        text_print(&c->out, ",\"%s\":%llu", numbers[i].name, (unsigned long long)numbers[i].value);
    }
    text_bytes(&c->out, "}", 1);
}

static int see(void *context, const struct thirl_mechanism *mechanism) {
    struct claims *c = context;
    if (c->json) {
        add_object(c, mechanism);
    } else {
        add_row(c, mechanism);
    }
    return 0;
}

int tool_mechanisms(const struct tool_args *args) {
    static const char *const titles[COLUMNS] = {"SCHEME", "ROLES", "MAX",    "ATOMIC", "QUEUE",
                                                "SLOTS",  "ENDS",  "CLAIMS", "WHAT"};
    static struct claims c;
    text_init(&c.out, 1);
    c.json = args->json;
    c.table.columns = COLUMNS;
    text_row(&c.table, titles);
    text_print(&c.out, "%s", c.json ? "[" : "");
    int code = thirl_mechanisms(see, &c);
    if (code < 0 || c.table.full) {
        tool_say(args, "%s", c.table.full ? "no memory for the table" : thirl_why());
        return c.table.full ? TOOL_OTHER : tool_exit_of(code);
    }
    if (c.json) {
        text_bytes(&c.out, "]\n", 2);
    } else {
        text_table(&c.out, &c.table);
    }
    return text_finish(&c.out, args);
}
