/* SPDX-License-Identifier: MIT
 *
 * Text and bytes on their way out of the tool, JSON included. A write that fails is kept and reported, never lost.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool/tool.h"

void text_init(struct text *t, int fd) {
    t->fd = fd;
    t->error = 0;
    t->used = 0;
}

static void pass(struct text *t, const char *data, size_t size) {
    while (size && !t->error) {
        ssize_t n = write(t->fd, data, size);
        if (n >= 0) {
            data += n;
            size -= (size_t)n;
            if (size && stop_exit()) {
                t->error = EINTR;
            }
        } else if (errno == EAGAIN) {
            if (stop_wait(t->fd, POLLOUT, -1) == STOP_SIGNAL) {
                t->error = EINTR;
            }
        } else if (errno != EINTR || stop_exit()) {
            t->error = errno;
        }
    }
}

int text_flush(struct text *t) {
    pass(t, t->buffer, t->used);
    t->used = 0;
    return -t->error;
}

void text_bytes(struct text *t, const void *data, size_t size) {
    if (size > sizeof t->buffer - t->used) {
        text_flush(t);
    }
    if (size > sizeof t->buffer / 4) {
        text_flush(t);
        pass(t, data, size); /* from where it lies: no copy */
        return;
    }
    if (size) {
        memcpy(t->buffer + t->used, data, size);
    }
    t->used += size;
}

void text_print(struct text *t, const char *format, ...) {
    char line[2048];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    if (n > 0) {
        text_bytes(t, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    }
}

/* The length of the UTF-8 sequence at p, 0 when it is none. */
static size_t sequence(const unsigned char *p, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (*p < 0x80) {
        return 1;
    }
    size_t size = *p >= 0xf0 && *p < 0xf8 ? 4 : *p >= 0xe0 && *p < 0xf0 ? 3 : *p >= 0xc0 && *p < 0xe0 ? 2 : 0;
    if (!size || size > left) {
        return 0;
    }
    uint32_t point = *p & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        point = point << 6 | (p[i] & 0x3f);
    }
    return point < least[size] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : size;
}

bool text_is_utf8(const void *data, size_t size) {
    const unsigned char *p = data;
    for (size_t step; size; p += step, size -= step) {
        step = sequence(p, size);
        if (!step) {
            return false;
        }
    }
    return true;
}

void text_json(struct text *t, const void *data, size_t size) {
    const unsigned char *p = data, *plain = p;
    text_bytes(t, "\"", 1);
    while (size) {
        size_t step = sequence(p, size);
        if (step && *p >= 0x20 && *p != '"' && *p != '\\' && *p != 0x7f) {
            p += step;
            size -= step;
            continue;
        }
        text_bytes(t, plain, (size_t)(p - plain));
        if (!step) {
            text_print(t, "\\ufffd");
        } else if (*p == '\n') {
            text_print(t, "\\n");
        } else if (*p == '\t') {
            text_print(t, "\\t");
        } else if (*p == '"' || *p == '\\') {
            text_print(t, "\\%c", *p);
        } else {
            text_print(t, "\\u%04x", *p);
        }
        plain = ++p;
        size--;
    }
    text_bytes(t, plain, (size_t)(p - plain));
    text_bytes(t, "\"", 1);
}

void text_base64(struct text *t, const void *data, size_t size) {
    static const char sign[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;
    text_bytes(t, "\"", 1);
    for (; size; p += 3, size = size > 3 ? size - 3 : 0) {
        uint32_t three = (uint32_t)p[0] << 16 | (size > 1 ? (uint32_t)p[1] << 8 : 0) | (size > 2 ? p[2] : 0);
        char four[4] = {sign[three >> 18], sign[three >> 12 & 63], size > 1 ? sign[three >> 6 & 63] : '=',
                        size > 2 ? sign[three & 63] : '='};
        text_bytes(t, four, 4);
    }
    text_bytes(t, "\"", 1);
}

void text_payload(struct text *out, const void *data, size_t size) {
    bool text = text_is_utf8(data, size);
    text_print(out, text ? "\"text\":" : "\"base64\":");
    (text ? text_json : text_base64)(out, data, size);
}

char *text_clean(char *text) {
    bool utf8 = text_is_utf8(text, strlen(text));
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (utf8 && *p == 0xc2 && p[1] < 0xa0) {
            *p++ = '?';
            *p = '?';
        } else if (*p < 0x20 || *p == 0x7f || (!utf8 && *p >= 0x80)) {
            *p = '?';
        }
    }
    return text;
}

enum tool_exit text_finish(struct text *t, const struct tool_args *args) {
    int code = text_flush(t);
    if (code == 0) {
        return TOOL_DONE;
    }
    if (code == -EPIPE) {
        return TOOL_PIPE;
    }
    tool_say(args, "cannot write to standard output: %s", strerror(-code));
    return tool_exit_of(code);
}

char *text_size(char *buffer, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1023.95 && unit < sizeof units / sizeof *units - 1) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buffer, TEXT_SIZE_MAX, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return buffer;
}

void text_row(struct text_table *t, const char *const *cells) {
    char **larger = t->full ? NULL : realloc(t->cells, (t->rows + 1) * t->columns * sizeof *t->cells);
    if (!larger) {
        t->full = true;
        return;
    }
    t->cells = larger;
    for (size_t i = 0; i < t->columns; i++) {
        char *copy = strdup(cells[i] && *cells[i] ? cells[i] : "-");
        t->full = t->full || !copy;
        t->cells[t->rows * t->columns + i] = copy ? text_clean(copy) : NULL;
    }
    t->rows++;
}

void text_table(struct text *out, struct text_table *t) {
    for (size_t row = 0; row < t->rows && !t->full; row++) {
        for (size_t i = 0; i < t->columns; i++) {
            size_t width = 0;
            for (size_t each = 0; each < t->rows; each++) {
                size_t length = strlen(t->cells[each * t->columns + i]);
                width = length > width ? length : width;
            }
            const char *cell = t->cells[row * t->columns + i];
            text_print(out, i + 1 < t->columns ? "%-*s  " : "%.*s\n", (int)width, cell);
        }
    }
    for (size_t i = 0; i < t->rows * t->columns; i++) {
        free(t->cells[i]);
    }
    free(t->cells);
    t->cells = NULL;
    t->rows = 0;
}

char *text_replace(const char *word, const char *address) {
    size_t size = strlen(word) + 1, length = strlen(address);
    for (const char *at = word; (at = strstr(at, "{}")); at += 2) {
        size += length;
    }
    char *out = malloc(size), *to = out;
    while (out && *word) {
        if (strncmp(word, "{}", 2) == 0) {
            to = stpcpy(to, address);
            word += 2;
        } else {
            *to++ = *word++;
        }
    }
    if (out) {
        *to = 0;
    }
    return out;
}
