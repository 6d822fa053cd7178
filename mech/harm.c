/* SPDX-License-Identifier: MIT
 *
 * Reading ?hurt=, see harm.h.
 */
#include "mech/harm.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"

#define DELAY_USUAL (200 * CLOCK_US)
#define DELAY_MOST CLOCK_S

static const struct {
    const char *name;
    uint64_t often;
} kinds[] = {
#define HARM_ROW(kind, name, often, text) {name, often},
    HARM_KINDS(HARM_ROW)
#undef HARM_ROW
};

static int refuse(const char *address, const char *piece, size_t length, const char *reason) {
    return err_say(EINVAL, "%s: \"%.*s\" in ?hurt= %s", address, (int)(length < 80 ? length : 80), piece, reason);
}

/* Digits, from 1 up to a million million; moves *at behind them. */
static bool count(const char **at, uint64_t *value) {
    char *end;
    if (**at < '0' || **at > '9') {
        return false;
    }
    *value = strtoull(*at, &end, 10);
    *at = end;
    return *value > 0 && *value <= UINT64_C(1000000000000);
}

static bool read_delay(const char **at, int64_t *ns) {
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"ns", 1}, {"us", CLOCK_US}, {"ms", CLOCK_MS}, {"s", CLOCK_S}};
    uint64_t number;
    if (!count(at, &number)) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t length = strlen(units[i].name);
        if (strncmp(*at, units[i].name, length) == 0) {
            *at += length;
            bool fits = number <= (uint64_t)(DELAY_MOST / units[i].ns);
            *ns = fits ? (int64_t)number * units[i].ns : *ns;
            return fits;
        }
    }
    return false;
}

/* The code of that name, as thirl_error_name writes it. */
static bool read_error(const char **at, int64_t *code) {
    size_t length = strspn(*at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    for (int i = 1; length != 0 && i < 8000; i = i == 200 ? 7000 : i + 1) {
        const char *name = thirl_error_name(i);
        if (strlen(name) == length && strncmp(name, *at, length) == 0 && i != EAGAIN) {
            *at += length;
            *code = -i;
            return true;
        }
    }
    return false;
}

/* KIND[=VALUE][/OFTEN|@CALL], of that length. */
static int read_rule(struct harm *harm, const char *address, const char *piece, size_t length, bool stream) {
    size_t name = strspn(piece, "abcdefghijklmnopqrstuvwxyz"), kind = 0;
    while (kind < HARM_COUNT && (strlen(kinds[kind].name) != name || strncmp(piece, kinds[kind].name, name) != 0)) {
        kind++;
    }
    if (kind == HARM_COUNT) {
        return refuse(address, piece, length,
                      "is no kind of harm; there are again, fail, short, delay, lose, double, swap and flip");
    }
    struct harm_rule *rule = &harm->rule[kind];
    if (rule->on) {
        return refuse(address, piece, length, "stands there twice");
    }
    if (stream && (kind == HARM_LOSE || kind == HARM_DOUBLE || kind == HARM_SWAP)) {
        return refuse(address, piece, length, "acts on messages, and a stream has none");
    }
    *rule =
        (struct harm_rule){.on = true, .often = kinds[kind].often, .value = kind == HARM_FAIL ? -ENOBUFS : DELAY_USUAL};
    const char *at = piece + name;
    if (*at == '=') {
        at++;
        if (kind == HARM_FAIL ? !read_error(&at, &rule->value) : kind != HARM_DELAY || !read_delay(&at, &rule->value)) {
            return refuse(
                address, piece, length,
                "has a wrong value: fail= takes the name of an error but EAGAIN, delay= a time up to 1s, such as "
                "500us, and the others none");
        }
    }
    bool once = *at == '@';
    if ((once || *at == '/') && !(at++, count(&at, once ? &rule->at : &rule->often))) {
        at = piece; /* no number */
    }
    return at == piece + length ? 0
                                : refuse(address, piece, length, "is not KIND[=VALUE][/OFTEN] or KIND[=VALUE]@CALL");
}

static void allow(struct harm *harm, const struct thirl_limits *claims, bool stream) {
    const bool on[HARM_COUNT] = {[HARM_AGAIN] = true,
                                 [HARM_SHORT] = true,
                                 [HARM_DELAY] = true,
                                 [HARM_LOSE] = !stream && !claims->reliable,
                                 [HARM_DOUBLE] = !stream && !claims->reliable,
                                 [HARM_SWAP] = !stream && !claims->ordered};
    for (size_t i = 0; i < HARM_COUNT; i++) {
        harm->rule[i] = (struct harm_rule){.on = on[i], .often = kinds[i].often, .value = DELAY_USUAL};
    }
}

int harm_read(struct harm *harm, const char *address, const char *text, const struct thirl_limits *claims,
              bool stream) {
    const char *at = text;
    *harm = (struct harm){0};
    if (!count(&at, &harm->seed) || (*at != '\0' && *at != ':')) {
        return refuse(address, text, strcspn(text, ":"),
                      "is no seed: write ?hurt=7, or a number from 1 and what is to go wrong, as in "
                      "?hurt=7:again,delay=1ms/20");
    }
    if (*at == '\0') {
        allow(harm, claims, stream);
        return 0;
    }
    do {
        at++;
        size_t length = strcspn(at, ",");
        int rc = read_rule(harm, address, at, length, stream);
        if (rc != 0) {
            return rc;
        }
        at += length;
    } while (*at == ',');
    return 0;
}

/* ---- dice ---- */

static uint64_t throw_dice(struct dice *dice) {
    dice->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = dice->state;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

void dice_init(struct dice *dice, uint64_t seed, unsigned way) {
    *dice = (struct dice){.state = seed * 2 + way};
}

void dice_begin(struct dice *dice, const struct harm *harm) {
    if (dice->open) {
        return;
    }
    dice->open = true;
    dice->call++;
    dice->due = 0;
    for (unsigned i = 0; i < HARM_COUNT; i++) {
        const struct harm_rule *rule = &harm->rule[i];
        if (rule->on && (rule->at != 0 ? rule->at == dice->call : dice_below(dice, rule->often) == 0)) {
            dice->due |= 1u << i;
        }
    }
}

uint64_t dice_below(struct dice *dice, uint64_t bound) {
    return throw_dice(dice) % bound;
}
