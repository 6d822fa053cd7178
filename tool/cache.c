/* SPDX-License-Identifier: MIT
 *
 * The verb cache: gets, puts and removes what a shared cache has, and shows its numbers.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <thirl/cache.h>

#include "tool/tool.h"

static enum tool_exit fail(const struct tool_args *args, int code) {
    tool_say(args, "%s", thirl_why());
    return tool_exit_of(code);
}

static enum tool_exit miss(const struct tool_args *args, const char *key) {
    tool_say(args, "%s has no value for \"%s\"", args->operand, key);
    return TOOL_OTHER;
}

static thirl_time until(const struct tool_args *args) {
    return args->timeout == INT64_MAX ? THIRL_NEVER : thirl_in_ns(args->timeout);
}

static int get(const struct tool_args *args, thirl_cache *cache, const char *key) {
    struct thirl_cache_pin pin;
    struct text out;
    int rc = thirl_cache_get(cache, key, strlen(key), &pin);
    if (rc) {
        return rc == THIRL_CACHE_MISS ? miss(args, key) : fail(args, rc);
    }
    text_init(&out, 1);
    text_bytes(&out, pin.value, pin.size);
    text_bytes(&out, "\n", 1);
    thirl_cache_unpin(cache, &pin);
    return text_finish(&out, args);
}

static int take_away(const struct tool_args *args, thirl_cache *cache, const char *key) {
    int rc = thirl_cache_remove(cache, key, strlen(key), until(args));
    return rc == THIRL_CACHE_MISS ? miss(args, key) : rc ? fail(args, rc) : TOOL_DONE;
}

static int stats(const struct tool_args *args, thirl_cache *cache) {
    struct thirl_cache_info info = {.size = sizeof info};
    struct text out;
    int rc = thirl_cache_info(cache, &info);
    if (rc) {
        return fail(args, rc);
    }
    const struct {
        const char *name;
        uint64_t number;
    } lines[] = {{"bytes", info.bytes},     {"room", info.room},
                 {"used", info.used},       {"items", info.items},
                 {"hits", info.hits},       {"misses", info.misses},
                 {"puts", info.puts},       {"removed", info.removed},
                 {"evicted", info.evicted}, {"expired", info.expired},
                 {"pins", info.pins},       {"waiting", info.waiting},
                 {"seats", info.seats},     {"seats_taken", info.seats_taken},
                 {"largest", info.largest}};
    text_init(&out, 1);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        text_print(&out, args->json ? "%s\"%s\":%llu" : "%s%-12s %llu\n",
                   !args->json ? ""
                   : i == 0    ? "{"
                               : ",",
                   lines[i].name, (unsigned long long)lines[i].number);
    }
    text_print(&out, args->json ? "}\n" : "");
    return text_finish(&out, args);
}

enum work { GET, PUT, REMOVE, STATS, NONE };

/* Which it is, by its name and how many words follow. */
static enum work work_of(char *const *words) {
    static const struct {
        const char *name;
        size_t words;
    } works[] = {[GET] = {"get", 2}, [PUT] = {"put", 3}, [REMOVE] = {"remove", 2}, [STATS] = {"stats", 1}};
    size_t count = 0;
    while (words[count]) {
        count++;
    }
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        if (count == works[i].words && strcmp(words[0], works[i].name) == 0) {
            return (enum work)i;
        }
    }
    return count == 0 ? STATS : NONE;
}

int tool_cache(const struct tool_args *args) {
    struct thirl_cache_options options = {.size = sizeof options};
    char **words = args->command;
    enum work work = work_of(words);
    thirl_cache *cache;
    if (work == NONE) {
        tool_say(args, "what to do is get KEY, put KEY TEXT, remove KEY, or stats");
        return TOOL_USAGE;
    }
    options.there = work != PUT;
    int rc = thirl_cache_open(&cache, args->operand, &options);
    if (rc) {
        return fail(args, rc);
    }
    int code = work == GET      ? get(args, cache, words[1])
               : work == REMOVE ? take_away(args, cache, words[1])
               : work == STATS  ? stats(args, cache)
                                : TOOL_DONE;
    if (work == PUT) {
        rc = thirl_cache_put(cache, words[1], strlen(words[1]), words[2], strlen(words[2]), THIRL_NEVER, until(args));
        code = rc ? (int)fail(args, rc) : TOOL_DONE;
    }
    thirl_cache_close(&cache);
    return code;
}
