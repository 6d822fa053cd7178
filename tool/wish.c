/* SPDX-License-Identifier: MIT
 *
 * What the options of advise say, as a wish.
 */
#include <stdlib.h>
#include <string.h>

#include "tool/tool.h"

struct word {
    const char *text;
    uint32_t number;
};

#define ROLE(name, number, text) {text, number},
#define WORD(name, number, text, about) {text, number},
static const struct word
    patterns[] = {{"stream", THIRL_WRITE}, {"queue", THIRL_PUSH}, {"event", THIRL_NOTIFY}, THIRL_ROLES(ROLE){NULL, 0}},
    acrosses[] = {THIRL_ACROSSES(WORD){NULL, 0}}, priorities[] = {THIRL_PRIORITIES(WORD){NULL, 0}},
    waits[] = {{"adaptive", THIRL_WAIT_ADAPTIVE}, {"spin", THIRL_WAIT_SPIN}, {"sleep", THIRL_WAIT_SLEEP}, {NULL, 0}};
#undef ROLE
#undef WORD

static bool read_word(const struct word *words, const char *text, uint32_t *number) {
    for (; words->text; words++) {
        if (strcmp(words->text, text) == 0) {
            *number = words->number;
            return true;
        }
    }
    return false;
}

static bool read_many(const char *text, uint32_t *count) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value < 1 || value > 1000000) {
        return false;
    }
    *count = (uint32_t)value;
    return true;
}

/* "200", "50k", "50k/s", "1.5M/s" */
static bool read_rate(const char *text, uint64_t *rate) {
    char *end;
    if (!strchr("0123456789", *text) || !*text) {
        return false;
    }
    double number = strtod(text, &end);
    double factor = *end == 'k' || *end == 'K' ? 1e3 : *end == 'M' ? 1e6 : 1;
    end += factor > 1;
    if ((*end && strcmp(end, "/s") != 0) || number * factor < 1 || number * factor > 1e12) {
        return false;
    }
    *rate = (uint64_t)(number * factor);
    return true;
}

bool wish_set(struct tool_wish *w, enum tool_option_id id, const char *value) {
    struct thirl_wish *wish = &w->wish;
    switch ((int)id) {
    case OPTION_PATTERN:
        w->named = true;
        return read_word(patterns, value, &wish->role);
    case OPTION_BYTES:
        return option_bytes(value, &wish->bytes);
    case OPTION_LARGEST:
        return option_bytes(value, &wish->largest);
    case OPTION_RATE:
        return read_rate(value, &wish->rate);
    case OPTION_SENDERS:
        return read_many(value, &wish->senders);
    case OPTION_RECEIVERS:
        return read_many(value, &wish->receivers);
    case OPTION_ACROSS:
        return read_word(acrosses, value, &wish->across);
    case OPTION_PRIORITY:
        return read_word(priorities, value, &wish->priority);
    case OPTION_WAITING:
        return read_word(waits, value, &wish->wait);
    case OPTION_LEVELS:
        return read_many(value, &wish->levels);
    case OPTION_TRUST:
        return (wish->trust = 1) != 0;
    case OPTION_CHILD:
        return (wish->child = 1) != 0;
    case OPTION_RIGHTS:
        return (wish->descriptors = 1) != 0;
    case OPTION_KEPT:
        return (wish->kept = 1) != 0;
    case OPTION_LOSSY:
        return (wish->lossy = 1) != 0;
    case OPTION_NAME:
        wish->name = value;
        return *value &&
               strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == strlen(value) &&
               strlen(value) <= 60;
    default:
        return false;
    }
}

const char *wish_takes(enum tool_option_id id) {
    switch ((int)id) {
    case OPTION_PATTERN:
        return "--pattern takes pair, stream, push, pub, call or notify";
    case OPTION_BYTES:
        return "--size takes bytes, such as 64, 4K or 1M";
    case OPTION_LARGEST:
        return "--largest takes bytes, such as 64, 4K or 1M";
    case OPTION_RATE:
        return "--rate takes messages a second, such as 200, 50k/s or 2M/s";
    case OPTION_ACROSS:
        return "--across takes user, users, containers or hosts";
    case OPTION_PRIORITY:
        return "--priority takes latency, throughput, cpu or simplicity";
    case OPTION_WAITING:
        return "--wait takes adaptive, spin or sleep";
    case OPTION_NAME:
        return "--name takes up to 60 letters, digits, - _ and .";
    default:
        return "--senders, --receivers and --levels take a number from 1 up";
    }
}
