/* SPDX-License-Identifier: MIT
 *
 * What stands behind the verb on the command line: options anywhere, one operand, "--" ends the options.
 */
#include <stdlib.h>
#include <string.h>

#include "tool/tool.h"

const struct tool_option tool_options[] = {
#define TOOL_OPTION_ROW(id, name, letter, argument, verbs, text) {name, letter, argument, verbs, text},
    TOOL_OPTIONS(TOOL_OPTION_ROW)
#undef TOOL_OPTION_ROW
        {NULL, 0, NULL, 0, NULL}};

static size_t distance(const char *a, const char *b) {
    size_t row[33], m = strlen(b);
    if (m > 32 || strlen(a) > 32) {
        return 33;
    }
    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 1; *a; a++, i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = corner + (*a != b[j - 1]);
            corner = row[j];
            row[j] = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            if (change < row[j]) {
                row[j] = change;
            }
        }
    }
    return row[m];
}

const char *option_nearest(const char *word, const char *(*name)(size_t index, unsigned bit), unsigned bit) {
    const char *best = NULL, *each;
    size_t least = strlen(word) < 4 ? 2 : 4; /* farther than that is another word */
    for (size_t i = 0; (each = name(i, bit)); i++) {
        size_t d = distance(word, each);
        if (d < least && d < strlen(each)) {
            least = d;
            best = each;
        }
    }
    return best;
}

static const char *name_at(size_t index, unsigned bit) {
    for (const struct tool_option *o = tool_options; o->name; o++) {
        if ((o->verbs & bit) && index-- == 0) {
            return o->name;
        }
    }
    return NULL;
}

static const struct tool_option *find_name(const char *name, size_t length, unsigned bit) {
    for (const struct tool_option *o = tool_options; o->name; o++) {
        if ((o->verbs & bit) && strlen(o->name) == length && memcmp(o->name, name, length) == 0) {
            return o;
        }
    }
    return NULL;
}

static const struct tool_option *find_letter(char letter, unsigned bit) {
    for (const struct tool_option *o = tool_options; o->name; o++) {
        if ((o->verbs & bit) && o->letter && o->letter == letter) {
            return o;
        }
    }
    return NULL;
}

static bool read_duration(const char *text, int64_t *ns) {
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"", 0}};
    char *unit;
    if (strcmp(text, "never") == 0) {
        *ns = INT64_MAX;
        return true;
    }
    if (!strchr("0123456789.", *text) || strspn(text, "0123456789.") == 0) {
        return false;
    }
    double number = strtod(text, &unit);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (unit != text && strcmp(unit, units[i].name) == 0 && (units[i].ns > 0 || number == 0)) {
            *ns = number * units[i].ns < 9e18 ? (int64_t)(number * units[i].ns) : INT64_MAX;
            return true;
        }
    }
    return false;
}

static bool read_count(const char *text, uint64_t *count) {
    if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18) {
        return false;
    }
    *count = strtoull(text, NULL, 10);
    return *count > 0;
}

static bool read_role(const char *text, int *role) {
#define ROLE_NAME(name, number, text) {number, text},
    static const struct {
        int number;
        const char *name;
    } roles[] = {THIRL_ROLES(ROLE_NAME)};
#undef ROLE_NAME
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(roles[i].name, text) == 0) {
            *role = roles[i].number;
            return true;
        }
    }
    return false;
}

bool option_bytes(const char *text, uint64_t *size) {
    char digits[20];
    size_t length = strspn(text, "0123456789");
    const char *unit = text + length, *units = "KMG", *at = *unit ? strchr(units, *unit) : NULL;
    if (length == 0 || length >= sizeof digits - 2 || (*unit && (!at || unit[1]))) {
        return false;
    }
    memcpy(digits, text, length);
    digits[length] = 0;
    *size = strtoull(digits, NULL, 10);
    for (long i = at ? at - units : -1; i >= 0; i--) {
        *size *= 1024;
    }
    return *size >= 1 && *size <= (uint64_t)1 << 40;
}

static bool read_size(const char *text, uint64_t *size) {
    return option_bytes(text, size) && *size >= 8 && *size <= (uint64_t)1 << 30;
}

static enum tool_exit say_value(const struct tool_args *args, const char *takes, const char *value) {
    tool_say(args, "%s, not \"%s\"", takes, value);
    return TOOL_USAGE;
}

static enum tool_exit set_format(struct tool_args *args, enum tool_format format) {
    if (args->format != FORMAT_LINES && args->format != format) {
        tool_say(args, "--length and --stream exclude each other");
        return TOOL_USAGE;
    }
    args->format = format;
    return TOOL_DONE;
}

static enum tool_exit set(struct tool_args *args, const struct tool_option *option, const char *value) {
    switch ((enum tool_option_id)(option - tool_options)) {
    case OPTION_INPUT:
    case OPTION_OUTPUT:
        args->file = value;
        break;
    case OPTION_MESSAGE:
    case OPTION_VALUE:
        args->message = value;
        break;
    case OPTION_LENGTH:
        return set_format(args, FORMAT_LENGTH);
    case OPTION_STREAM:
        return set_format(args, FORMAT_STREAM);
    case OPTION_STATS:
        args->stats = true;
        break;
    case OPTION_QUIET:
        args->quiet = true;
        break;
    case OPTION_SUMMARY_JSON:
    case OPTION_MESSAGE_JSON:
    case OPTION_JSON:
    case OPTION_RUN_JSON:
        args->json = true;
        break;
    case OPTION_HELP:
        args->help = true;
        break;
    case OPTION_SERVE:
        args->serve = true;
        break;
    case OPTION_BOTH:
        args->both = true;
        break;
    case OPTION_WATCH:
        args->watch = true;
        break;
    case OPTION_ECHO:
        args->echo = true;
        break;
    case OPTION_TOPIC:
        args->topic = true;
        break;
    case OPTION_KEEP:
        args->keep = true;
        break;
    case OPTION_WHOLE:
    case OPTION_MACHINE:
        args->all = true;
        break;
    case OPTION_OVER:
        args->over = value;
        break;
    case OPTION_ROLE:
        return read_role(value, &args->role) ? TOOL_DONE : say_value(args, "--role takes pair, push, pull, ...", value);
    case OPTION_CHANNEL:
        args->channel = value;
        break;
    case OPTION_TRACE:
        args->trace = value;
        break;
    case OPTION_SIZE:
        return read_size(value, &args->size)
                   ? TOOL_DONE
                   : say_value(args, "--size takes bytes from 8 to 1G, such as 64 or 4K", value);
    case OPTION_INTERVAL:
    case OPTION_MOMENT:
        return read_duration(value, &args->interval)
                   ? TOOL_DONE
                   : say_value(args, "--interval takes a time with its unit (ns, us, ms, s, m, h)", value);
    case OPTION_COUNT:
    case OPTION_TRIPS:
        if (!read_count(value, &args->count)) {
            return say_value(args, "--count takes a number from 1 up", value);
        }
        break;
    case OPTION_JOBS:
        if (!read_count(value, &args->jobs) || args->jobs > 4096) {
            return say_value(args, "--jobs takes a number of workers from 1 to 4096", value);
        }
        break;
    case OPTION_PATTERN:
    case OPTION_BYTES:
    case OPTION_LARGEST:
    case OPTION_RATE:
    case OPTION_SENDERS:
    case OPTION_RECEIVERS:
    case OPTION_ACROSS:
    case OPTION_PRIORITY:
    case OPTION_WAITING:
    case OPTION_LEVELS:
    case OPTION_TRUST:
    case OPTION_CHILD:
    case OPTION_RIGHTS:
    case OPTION_KEPT:
    case OPTION_LOSSY:
    case OPTION_NAME: {
        enum tool_option_id id = (enum tool_option_id)(option - tool_options);
        return wish_set(&args->advise, id, value) ? TOOL_DONE : say_value(args, wish_takes(id), value);
    }
    case OPTION_TIMEOUT:
        if (!read_duration(value, &args->timeout)) {
            tool_say(args, "--timeout takes a time with its unit (ns, us, ms, s, m, h) or never, not \"%s\"", value);
            return TOOL_USAGE;
        }
        break;
    }
    return TOOL_DONE;
}

static enum tool_exit unknown(const struct tool_args *args, const char *word, size_t length) {
    char name[40] = "";
    if (length < sizeof name) {
        memcpy(name, word, length);
    }
    const char *near = option_nearest(name, name_at, args->verb->bit);
    if (near) {
        tool_say(args, "unknown option \"--%.*s\"; did you mean --%s?", (int)length, word, near);
    } else {
        tool_say(args, "unknown option \"--%.*s\"; thirl help %s shows the known ones", (int)length, word,
                 args->verb->name);
    }
    return TOOL_USAGE;
}

/* "--name", "--name=value", "--name value"; *next is advanced when the value stands there. */
static enum tool_exit take_long(struct tool_args *args, const char *word, char ***next) {
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const struct tool_option *option = find_name(word, length, args->verb->bit);
    if (!option) {
        return unknown(args, word, length);
    }
    if (!option->argument && equals) {
        tool_say(args, "--%s takes no value", option->name);
        return TOOL_USAGE;
    }
    const char *value = equals ? equals + 1 : option->argument ? *(*next)++ : NULL;
    if (option->argument && !value) {
        tool_say(args, "--%s needs a value: --%s %s", option->name, option->name, option->argument);
        return TOOL_USAGE;
    }
    return set(args, option, value);
}

/* "-qt5s", "-t 5s" */
static enum tool_exit take_short(struct tool_args *args, const char *word, char ***next) {
    for (; *word; word++) {
        const struct tool_option *option = find_letter(*word, args->verb->bit);
        if (!option) {
            tool_say(args, "unknown option \"-%c\"; thirl help %s shows the known ones", *word, args->verb->name);
            return TOOL_USAGE;
        }
        const char *value = !option->argument ? NULL : word[1] ? word + 1 : *(*next)++;
        if (option->argument && !value) {
            tool_say(args, "-%c needs a value: -%c %s", *word, *word, option->argument);
            return TOOL_USAGE;
        }
        enum tool_exit code = set(args, option, value);
        if (code != TOOL_DONE || option->argument) {
            return code;
        }
    }
    return TOOL_DONE;
}

static enum tool_exit check(const struct tool_args *args) {
    const char *problem = NULL;
    if (args->help) {
        return TOOL_DONE;
    }
    if (args->verb->bit == FOR_RUN && !args->operand) {
        problem = "a command is needed, for example thirl run -- thirl recv {}";
    } else if (args->verb->needs_operand && !args->operand) {
        problem = "an address is needed, for example shm://hello";
    } else if (args->verb->bit == FOR_SERVE && !args->command == !args->echo) {
        problem = args->echo ? "--echo and a command exclude each other"
                             : "a command is needed, for example thirl serve shm://sum -- sha256sum, or --echo";
    } else if (args->verb->bit == FOR_CLEAN && !args->operand == !args->all) {
        problem = "an address is needed, or --all; thirl list shows what is left";
    } else if (args->verb->bit == FOR_RUN && args->json && !args->jobs) {
        problem = "--json tells of workers: it goes with --jobs";
    } else if (args->jobs && args->keep) {
        problem = "--keep is for one child; with --jobs the end of the work is the end";
    } else if (args->serve && args->both) {
        problem = "--serve and --both exclude each other";
    } else if (args->role && args->format == FORMAT_STREAM) {
        problem = "--stream has its own roles; it does not go with --role";
    } else if (args->message && args->file) {
        problem = "--message and --file exclude each other";
    } else if (args->message && args->format != FORMAT_LINES) {
        problem = "--message sends one message; it goes neither with --length nor with --stream";
    } else if (args->topic && args->format != FORMAT_LINES) {
        problem = "--topic goes with lines; --json shows the topic, too";
    } else if ((args->verb->bit & (FOR_RECEIVERS | FOR_CALL)) != 0 && args->json && args->format != FORMAT_LINES) {
        problem = "--json is a format of its own; it goes neither with --length nor with --stream";
    } else if (args->count && args->format == FORMAT_STREAM) {
        problem = "--count counts messages; a stream has none";
    }
    if (!problem) {
        return TOOL_DONE;
    }
    tool_say(args, "%s", problem);
    return TOOL_USAGE;
}

enum tool_exit option_parse(struct tool_args *args, int count, char **words) {
    bool options = true;
    char **last = words + count;        /* holds the NULL of argv */
    if (args->verb->bit == FOR_BENCH) { /* all of it is the program's own */
        args->help = count == 1 && (strcmp(*words, "--help") == 0 || strcmp(*words, "-h") == 0);
        args->command = words;
        return TOOL_DONE;
    }
    while (words < last && *words) {
        char *word = *words++;
        enum tool_exit code = TOOL_DONE;
        if (options && strcmp(word, "--") == 0) {
            options = false;
            if (args->verb->bit == FOR_SERVE) { /* the rest is the command's own */
                args->command = words < last ? words : NULL;
                break;
            }
        } else if (options && strncmp(word, "--", 2) == 0) {
            code = take_long(args, word + 2, &words);
        } else if (options && *word == '-' && word[1]) {
            code = take_short(args, word + 1, &words);
        } else if (!args->operand && args->verb->operand) {
            args->operand = word;
            if (args->verb->bit == FOR_RUN) { /* the rest is the command's own */
                args->command = words - 1;
                break;
            }
            if (args->verb->bit == FOR_CACHE) { /* what is to be done: a key may look like an option */
                args->command = words;
                break;
            }
        } else {
            tool_say(args, "\"%s\" is one word too many; see thirl help %s", word, args->verb->name);
            code = TOOL_USAGE;
        }
        if (code != TOOL_DONE) {
            return code;
        }
    }
    return check(args);
}
