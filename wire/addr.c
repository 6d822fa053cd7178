/* SPDX-License-Identifier: MIT
 *
 * The grammar of addresses, see addr.h. Every sentence shows the address with its unprintable bytes spelled out, and the
 * character (from 1) where it goes wrong.
 */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "wire/addr.h"

#define SHOWN_MAX 200 /* as much of an address as a sentence shows */

enum kind { SIZE, OCTAL, DURATION, WORD, FLAG, COUNT, TEXT, TYPE };

static const char *const wait_words[] = {
    [THIRL_WAIT_ADAPTIVE] = "adaptive", [THIRL_WAIT_SPIN] = "spin", [THIRL_WAIT_SLEEP] = "sleep"};
static const char *const type_words[] = {
    [THIRL_STREAM] = "stream", [THIRL_SEQPACKET] = "seqpacket", [THIRL_DATAGRAM] = "datagram"};
static const char *const deadlock_words[] = {[THIRL_DEADLOCK_WAIT] = "wait", [THIRL_DEADLOCK_FAIL] = "fail"};
static const char *const flag_words[] = {"off", "on"};
static const char *const full_words[] = {[THIRL_FULL_BLOCK] = "block",
                                         [THIRL_FULL_DROP_OLDEST] = "drop-oldest",
                                         [THIRL_FULL_DROP_NEWEST] = "drop-newest",
                                         [THIRL_FULL_LATEST] = "latest",
                                         [THIRL_FULL_FAIL] = "fail",
                                         [THIRL_FULL_DISCONNECT] = "disconnect"};

#define SIZE_FORM "a size in bytes from 1 to 1024G, such as 65536, 64K, 4M or 1G"
#define TERA (UINT64_C(1) << 40)
#define YEAR (UINT64_C(365) * 24 * 3600 * CLOCK_S)
#define WORDS(w) (w), sizeof(w) / sizeof *(w)

/* The options of an address. What an option does stands at its field in thirl.h. */
static const struct option {
    const char *name;
    enum kind kind;
    size_t offset, width;
    uint64_t low, high;
    const char *form; /* what is allowed, for sentences */
    const char *const *words;
    size_t word_count;
} options[] = {
#define AT(field) offsetof(struct thirl_options, field), sizeof(((struct thirl_options *)0)->field)
    {"queue", SIZE, AT(queue), 1, TERA, SIZE_FORM, NULL, 0},
    {"max", SIZE, AT(max), 1, TERA, SIZE_FORM, NULL, 0},
    {"wait", WORD, AT(wait), THIRL_WAIT_ADAPTIVE, THIRL_WAIT_SLEEP, "adaptive, spin or sleep", WORDS(wait_words)},
    {"mode", OCTAL, AT(mode), 1, 0777, "permission bits in octal from 1 to 777, such as 0660", NULL, 0},
    {"timeout", DURATION, AT(timeout), 1, YEAR, "a duration with its unit, ns, us, ms or s, up to a year, such as 5s",
     NULL, 0},
    {"type", WORD, AT(type), THIRL_STREAM, THIRL_DATAGRAM, "stream, seqpacket or datagram", WORDS(type_words)},
    {"raw", FLAG, AT(raw), 0, 1, "on or off; ?raw alone means on", WORDS(flag_words)},
    {"descriptors", COUNT, AT(descriptors), 0, THIRL_DESCRIPTORS_MAX, "a number from 0 to 16", NULL, 0},
    {"signal", COUNT, AT(signal), 34, 64, "a number from 34 to 64", NULL, 0},
    {"spy", TEXT, AT(spy), 0, 0, "the path of a file, or the number of a descriptor", NULL, 0},
    {"hurt", TEXT, AT(hurt), 0, 0, "a seed, or SEED:KIND,KIND,...", NULL, 0},
    {"full", WORD, AT(full), THIRL_FULL_BLOCK, THIRL_FULL_DISCONNECT,
     "block, drop-oldest, drop-newest, latest, fail or disconnect", WORDS(full_words)},
    {"history", COUNT, AT(history), 0, 1000000, "a number of messages, up to 1000000", NULL, 0},
    {"crc", FLAG, AT(crc), 0, 1, "on or off; ?crc alone means on", WORDS(flag_words)},
    {"pool", SIZE, AT(pool), 1, TERA, SIZE_FORM, NULL, 0},
    {"lifespan", DURATION, AT(lifespan), 1, YEAR,
     "a duration with its unit, ns, us, ms or s, up to a year, such as 100ms", NULL, 0},
    {"deadline", DURATION, AT(deadline), 1, YEAR,
     "a duration with its unit, ns, us, ms or s, up to a year, such as 100ms", NULL, 0},
    {"of", TYPE, offsetof(struct thirl_options, of), sizeof(void *), 0, 0,
     "name:bytes:alignment:layout, the layout in hexadecimal; what is not known is left out", NULL, 0},
    {"retry", FLAG, AT(retry), 0, 1, "on or off; ?retry alone means on", WORDS(flag_words)},
    {"size", SIZE, AT(bytes), 1, TERA, SIZE_FORM, NULL, 0},
    {"trust", FLAG, AT(trust), 0, 1, "on or off; ?trust alone means on", WORDS(flag_words)},
    {"deadlock", WORD, AT(deadlock), THIRL_DEADLOCK_WAIT, THIRL_DEADLOCK_FAIL, "wait or fail", WORDS(deadlock_words)},
#undef AT
};
#define OPTIONS (sizeof options / sizeof *options)

const char *addr_full_word(uint32_t full) {
    return full_words[full];
}

/* The names of all options, for the sentence about one that is not among them. */
static const char *known(char out[SHOWN_MAX]) {
    char *at = out;
    *at = 0;
    for (size_t i = 0; i < OPTIONS && at + 32 < out + SHOWN_MAX; i++) {
        at = stpcpy(at, i == 0 ? "" : i + 1 == OPTIONS ? " and " : ", ");
        at = stpcpy(stpcpy(at, options[i].name), "=");
    }
    return out;
}

/* Copies length bytes of text for people: printable ones as they are, others as \xNN; cut with "..." when too long. */
static const char *show(char out[SHOWN_MAX], const char *text, size_t length) {
    static const char digit[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        if (n + 8 > SHOWN_MAX) {
            memcpy(out + n, "...", 3);
            n += 3;
            break;
        }
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c < 0x7f) {
            out[n++] = (char)c;
        } else {
            out[n++] = '\\';
            out[n++] = 'x';
            out[n++] = digit[c >> 4];
            out[n++] = digit[c & 15];
        }
    }
    out[n] = 0;
    return out;
}

/* The sentence for a wrong place: the address, where, the piece, what is the matter with it. */
static int refuse(const char *text, const char *place, size_t length, const char *reason) {
    char whole[SHOWN_MAX], piece[SHOWN_MAX];
    return err_say(THIRL_EADDRESS, "address \"%s\": \"%s\" at character %zu %s", show(whole, text, strlen(text)),
                   show(piece, place, length), (size_t)(place - text) + 1, reason);
}

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Copies length bytes with %XX decoded; out is no shorter than the whole address. */
static int decode(char *out, const char *text, const char *from, size_t length) {
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        if (from[i] != '%') {
            out[n++] = from[i];
            continue;
        }
        int high = i + 1 < length ? hex(from[i + 1]) : -1;
        int low = i + 2 < length ? hex(from[i + 2]) : -1;
        size_t piece = length - i < 3 ? length - i : 3;
        if (high < 0 || low < 0) return refuse(text, from + i, piece, "is not % and two hexadecimal digits");
        if (high == 0 && low == 0) return refuse(text, from + i, piece, "is a NUL byte, which no address may hold");
        out[n++] = (char)(high << 4 | low);
        i += 2;
    }
    out[n] = 0;
    return 0;
}

/* Reads digits of that base and moves *text behind them. false: there are none, or too many. */
static bool count(const char **text, unsigned base, uint64_t *value) {
    const char *p = *text;
    uint64_t sum = 0;
    for (; *p >= '0' && *p < (char)('0' + base); p++) {
        if (__builtin_mul_overflow(sum, base, &sum)) return false;
        if (__builtin_add_overflow(sum, (unsigned)(*p - '0'), &sum)) return false;
    }
    bool any = p != *text;
    *text = p;
    *value = sum;
    return any;
}

static bool scale(const char *unit, enum kind kind, uint64_t *value) {
    static const struct {
        const char *unit;
        enum kind kind;
        uint64_t factor;
    } units[] = {
        {"", OCTAL, 1},           {"", SIZE, 1},       {"K", SIZE, 1 << 10},   {"M", SIZE, 1 << 20},
        {"G", SIZE, 1 << 30},     {"ns", DURATION, 1}, {"us", DURATION, 1000}, {"ms", DURATION, 1000000},
        {"s", DURATION, CLOCK_S}, {"", COUNT, 1},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (units[i].kind == kind && strcmp(units[i].unit, unit) == 0) {
            return !__builtin_mul_overflow(*value, units[i].factor, value);
        }
    }
    return false;
}

static bool understand(const struct option *option, const char *value, uint64_t *number) {
    if (option->kind == WORD || option->kind == FLAG) {
        for (size_t i = 0; i < option->word_count; i++) {
            *number = i;
            if (option->words[i] && strcmp(option->words[i], value) == 0) return true;
        }
        return false;
    }
    const char *rest = value;
    if (!count(&rest, option->kind == OCTAL ? 8 : 10, number)) return false;
    return scale(rest, option->kind, number) && *number >= option->low && *number <= option->high;
}

static uint64_t fetch(const struct thirl_options *from, const struct option *option) {
    uint64_t wide;
    uint32_t narrow;
    const char *field = (const char *)from + option->offset;
    if (option->width == sizeof wide) {
        memcpy(&wide, field, sizeof wide);
        return wide;
    }
    memcpy(&narrow, field, sizeof narrow);
    return narrow;
}

static void store(struct thirl_options *to, const struct option *option, uint64_t wide) {
    uint32_t narrow = (uint32_t)wide;
    char *field = (char *)to + option->offset;
    if (option->width == sizeof wide) {
        memcpy(field, &wide, sizeof wide);
    } else {
        memcpy(field, &narrow, sizeof narrow);
    }
}

/* Keeps a decoded text, which is no longer than the rest of the address was. */
static bool keep(struct addr *addr, const struct option *option, const char *value) {
    size_t size = strlen(value) + 1;
    if (size == 1 || size > sizeof addr->texts - addr->texts_used) {
        return false;
    }
    const char *kept = memcpy(addr->texts + addr->texts_used, value, size);
    addr->texts_used += size;
    memcpy((char *)&addr->options + option->offset, &kept, sizeof kept);
    return true;
}

/* A type, whose name is kept like a text: name[:bytes[:alignment[:layout]]]. */
static bool keep_type(struct addr *addr, const struct option *option, char *value) {
    uint64_t number[3] = {0, 0, 0};
    char *part = strchr(value, ':');
    for (unsigned i = 0; i < 3 && part != NULL; i++) {
        const char *at = part + 1;
        *part = '\0';
        if (i < 2) {
            if (!count(&at, 10, &number[i])) return false;
        } else {
            unsigned digits = 0;
            for (; hex(*at) >= 0 && digits < 16; at++, digits++) number[i] = number[i] << 4 | (unsigned)hex(*at);
            if (digits == 0) return false;
        }
        if (*at != '\0' && (*at != ':' || i == 2)) return false;
        part = *at == ':' ? value + (at - value) : NULL;
    }
    if (number[1] > UINT32_MAX) return false;
    const char *name = addr->texts + addr->texts_used;
    if (!keep(addr, option, value)) return false;
    addr->of = (struct thirl_type){.size = sizeof addr->of,
                                   .name = name,
                                   .bytes = number[0],
                                   .alignment = (uint32_t)number[1],
                                   .layout = number[2]};
    addr->options.of = &addr->of;
    return true;
}

/* One name=value of length bytes at item; *given gets a bit for each option that was there. */
static int parse_option(struct addr *addr, const char *text, const char *item, size_t length, unsigned *given) {
    char value[ADDR_MAX] = "";
    uint64_t number = 0;
    const char *equals = memchr(item, '=', length);
    size_t name_length = equals ? (size_t)(equals - item) : length;
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &options[i];
        if (strlen(option->name) != name_length || memcmp(option->name, item, name_length) != 0) continue;
        if (!equals && option->kind != FLAG) return refuse(text, item, length, "has no value; write name=value");
        if (*given & 1u << i) return refuse(text, item, name_length, "is given twice");
        *given |= 1u << i;
        if (!equals) {
            store(&addr->options, option, 1);
            return 0;
        }
        int r = decode(value, text, equals + 1, length - name_length - 1);
        if (r < 0) return r;
        bool good = option->kind == TEXT   ? keep(addr, option, value)
                    : option->kind == TYPE ? keep_type(addr, option, value)
                                           : understand(option, value, &number);
        if (!good) {
            r = refuse(text, equals + 1, length - name_length - 1, "is not");
            char name[SHOWN_MAX];
            return err_add(r, "%s= takes %s", show(name, item, name_length), option->form);
        }
        if (option->kind != TEXT && option->kind != TYPE) store(&addr->options, option, number);
        return 0;
    }
    char names[SHOWN_MAX];
    return err_add(refuse(text, item, name_length, "is no option"), "known are %s", known(names));
}

static int parse_options(struct addr *addr, const char *text, const char *item) {
    unsigned given = 0;
    for (;;) {
        size_t length = strcspn(item, "&");
        if (length == 0) return refuse(text, item - 1, 1, "has no name=value behind it");
        int r = parse_option(addr, text, item, length, &given);
        if (r < 0) return r;
        if (!item[length]) return 0;
        item += length + 1;
    }
}

/* Takes over what the caller knows of the options, whatever version it was built with. */
static int adopt(struct thirl_options *to, const struct thirl_options *from) {
    *to = THIRL_OPTIONS;
    if (!from) return 0;
    if (from->size < sizeof from->size) {
        return err_say(EINVAL, "thirl_options.size is %zu; set the options to THIRL_OPTIONS first", from->size);
    }
    const char *bytes = (const char *)from;
    for (size_t i = sizeof *to; i < from->size; i++) {
        if (!bytes[i]) continue;
        return err_say(THIRL_EVERSION,
                       "the program sets an option at byte %zu of thirl_options, which thirl " THIRL_VERSION
                       " does not know: it knows %zu bytes",
                       i, sizeof *to);
    }
    for (size_t i = 0; i < OPTIONS; i++) { /* half a pointer would be one to anywhere */
        if (options[i].offset < from->size && options[i].offset + options[i].width > from->size) {
            return err_say(EINVAL,
                           "thirl_options.size is %zu, which cuts the option %s in two; set the options to "
                           "THIRL_OPTIONS first",
                           from->size, options[i].name);
        }
    }
    memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
    to->size = sizeof *to;
    for (size_t i = 0; i < OPTIONS; i++) {
        if (options[i].kind == TEXT || options[i].kind == TYPE) continue;
        uint64_t value = fetch(to, &options[i]);
        if (value == 0 || (value >= options[i].low && value <= options[i].high)) continue;
        return err_say(EINVAL, "thirl_options.%s is %lld; it takes %s, or 0", options[i].name, (long long)value,
                       options[i].form);
    }
    return 0;
}

static int parse_scheme(struct addr *addr, const char *text) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    char shown[SHOWN_MAX];
    const char *colon = strstr(text, "://");
    if (!colon) {
        return err_say(THIRL_EADDRESS,
                       "\"%s\" is no address: it is written scheme://rest?name=value, such as shm://name",
                       show(shown, text, strlen(text)));
    }
    size_t length = (size_t)(colon - text);
    size_t good = strspn(text, letters);
    if (good > 0) good += strspn(text + good, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    if (length == 0) return refuse(text, text, 3, "has no scheme before it");
    if (good < length) return refuse(text, text + good, 1, "cannot stand in a scheme; those are lower-case letters");
    addr->scheme_length = length;
    return 0;
}

int addr_parse(struct addr *addr, const char *text, const struct thirl_options *defaults) {
    char shown[SHOWN_MAX];
    memset(addr, 0, sizeof *addr);
    int r = adopt(&addr->options, defaults);
    if (r < 0) return r;
    if (!text) return err_say(EINVAL, "the address is NULL");
    size_t length = strnlen(text, ADDR_MAX);
    if (length == ADDR_MAX) {
        return err_say(THIRL_EADDRESS, "address \"%s\" is longer than %d characters", show(shown, text, length),
                       ADDR_MAX - 1);
    }
    r = parse_scheme(addr, text);
    if (r < 0) return r;
    const char *rest = text + addr->scheme_length + 3;
    size_t rest_length = strcspn(rest, "?");
    r = decode(addr->rest, text, rest, rest_length);
    if (r < 0 || !rest[rest_length]) return r;
    return parse_options(addr, text, rest + rest_length + 1);
}
