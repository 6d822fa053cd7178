/* SPDX-License-Identifier: MIT
 *
 * The verb mechanisms: what each claims on this machine, with default options. A line each, and below it what differs by role.
 */
#include <stdio.h>
#include <string.h>

#include "tool/tool.h"

enum { SCHEME, ROLES_OF, MAX, ATOMIC, QUEUE, SLOTS, ENDS, CLAIMS, WHAT, COLUMNS };
#define GROUPS 16 /* of roles, of one mechanism */
#define CELL 160

/* Roles of a mechanism for which the same is true. */
struct group {
    uint32_t roles;
    char cells[COLUMNS][CELL];
};

struct claims {
    struct text out;
    struct text_table table;
    bool json;
    size_t objects;
    struct group group[GROUPS]; /* of the mechanism that is being read */
    size_t groups;
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

/* The line of a mechanism, with all its roles; below it those for whom something else is true, and what. */
static void show(struct claims *c) {
    char carried[CELL];
    uint32_t all = 0;
    for (size_t i = 0; i < c->groups; i++) {
        all |= c->group[i].roles;
    }
    for (size_t i = 0; i < c->groups; i++) {
        const char *cells[COLUMNS];
        for (size_t k = 0; k < COLUMNS; k++) {
            bool same = i != 0 && strcmp(c->group[i].cells[k], c->group[0].cells[k]) == 0;
            cells[k] = same ? " " : c->group[i].cells[k];
        }
        cells[ROLES_OF] = list_roles(carried, i == 0 ? all : c->group[i].roles, "", ",");
        text_row(&c->table, cells);
    }
    c->groups = 0;
}

static bool says_the_same(const struct group *a, const struct group *b) {
    for (size_t k = MAX; k < WHAT; k++) {
        if (strcmp(a->cells[k], b->cells[k]) != 0) {
            return false;
        }
    }
    return true;
}

static void fill(struct group *group, const struct thirl_mechanism *m) {
    const struct thirl_limits *l = &m->limits;
    char size[TEXT_SIZE_MAX], senders[24], receivers[24];
    group->roles = m->roles;
    *group->cells[ROLES_OF] = 0;
    snprintf(group->cells[SCHEME], CELL, "%s", m->scheme);
    snprintf(group->cells[MAX], CELL, "%s", text_size(size, (double)l->message_max));
    snprintf(group->cells[ATOMIC], CELL, "%s", l->atomic_max ? text_size(size, (double)l->atomic_max) : "-");
    snprintf(group->cells[QUEUE], CELL, "%s", text_size(size, (double)l->queue));
    (void)number(group->cells[SLOTS], l->queue_messages, "-");
    if (l->queue_messages == 0) {
        snprintf(group->cells[SLOTS], CELL, "-");
    }
    snprintf(group->cells[ENDS], CELL, "%s:%s", number(senders, l->senders, "any"),
             number(receivers, l->receivers, "any"));
    (void)holds(group->cells[CLAIMS], l);
    snprintf(group->cells[WHAT], CELL, "%s", m->summary);
}

/* One mechanism's rooms come one after the other, each with other roles. */
static void add(struct claims *c, const struct thirl_mechanism *m) {
    uint32_t all = 0;
    struct group next;
    for (size_t i = 0; i < c->groups; i++) {
        all |= c->group[i].roles;
    }
    if (c->groups != 0 && ((all & m->roles) != 0 || strcmp(c->group[0].cells[SCHEME], m->scheme) != 0)) {
        show(c);
    }
    fill(&next, m);
    for (size_t i = 0; i < c->groups; i++) {
        if (says_the_same(&c->group[i], &next)) {
            c->group[i].roles |= next.roles;
            return;
        }
    }
    if (c->groups < GROUPS) {
        c->group[c->groups++] = next;
    }
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
        add(c, mechanism);
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
        show(&c);
        text_table(&c.out, &c.table);
    }
    return text_finish(&c.out, args);
}
