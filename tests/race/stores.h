/* SPDX-License-Identifier: MIT
 *
 * Processors with store buffers, as x86 has them, for models. A file that includes this has before: enum word, enum cpu, and how many there
 * are of each, WORDS and CPUS; BUFFER, the stores that one of them holds back; and a struct state with memory and buffer[].
 */
#ifndef TESTS_RACE_STORES_H
#define TESTS_RACE_STORES_H

#include <stdint.h>
#include <string.h>

/* What a processor reads: its own last store of the word, else what all see. */
static uint8_t load(const struct state *s, enum cpu cpu, enum word word) {
    for (int i = s->buffer[cpu].length - 1; i >= 0; i--) {
        if (s->buffer[cpu].word[i] == word) {
            return s->buffer[cpu].value[i];
        }
    }
    return s->memory[word];
}

static void store(struct state *s, enum cpu cpu, enum word word, uint8_t value) {
    uint8_t at = s->buffer[cpu].length++;
    s->buffer[cpu].word[at] = (uint8_t)word;
    s->buffer[cpu].value[at] = value;
}

/* Its oldest store is seen by all. */
static void drain_one(struct state *s, enum cpu cpu) {
    s->memory[s->buffer[cpu].word[0]] = s->buffer[cpu].value[0];
    s->buffer[cpu].length--;
    memmove(s->buffer[cpu].word, s->buffer[cpu].word + 1, BUFFER - 1);
    memmove(s->buffer[cpu].value, s->buffer[cpu].value + 1, BUFFER - 1);
    s->buffer[cpu].word[BUFFER - 1] = s->buffer[cpu].value[BUFFER - 1] = 0;
}

/* All of them: a full fence. */
static void drain(struct state *s, enum cpu cpu) {
    while (s->buffer[cpu].length != 0) {
        drain_one(s, cpu);
    }
}

#endif
