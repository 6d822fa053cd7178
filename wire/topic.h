/* SPDX-License-Identifier: MIT
 *
 * Patterns of topics. A topic is the name of a channel, its components separated by slashes. In a pattern a star stands for any
 * characters of one component, also for none; a component that is two stars stands for any number of whole components, also for none.
 * Touches nothing but its arguments.
 */
#ifndef WIRE_TOPIC_H
#define WIRE_TOPIC_H

#include <stdbool.h>

/* Is that a pattern? */
bool topic_wild(const char *text);

/* Can it be understood? -THIRL_EADDRESS where two stars stand together and are not a component; address: for the sentence. */
int topic_check(const char *pattern, const char *address);

/* Does the pattern fit that topic, whole? In time proportional to the product of their lengths. */
bool topic_fits(const char *pattern, const char *topic);

#endif
