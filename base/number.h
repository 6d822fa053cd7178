/* SPDX-License-Identifier: MIT
 *
 * The names and texts of the system's error numbers. Nothing here blocks, allocates, or is translated.
 */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

/* "EPERM", and what it says; NULL: there is no such number. */
const char *number_name(int number);
const char *number_text(int number);

#endif
