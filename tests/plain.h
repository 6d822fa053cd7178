/* SPDX-License-Identifier: MIT
 *
 * For tests of plain pipes against the programs that everybody has: cat, echo, dd, sh.
 */
#ifndef TESTS_PLAIN_H
#define TESTS_PLAIN_H

#include "tests/bare.h" /* bulk, buffer */
#include "tests/peer.h"

extern char plain_fifo[96], plain_raw[128], plain_file[96]; /* paths in peer_directory, and the address of the FIFO */

int plain_begin(void **state); /* before each test: bulk filled, and nothing at these paths */
void plain_make(void);         /* the FIFO */
bool plain_exists(const char *path);

pid_t plain_shell(const char *command); /* runs it, and ends with this process */
pid_t plain_run(const char *command); /* for a shell; the first %s in it stands for the FIFO, the next for the file */
thirl *plain_open(enum thirl_role, const char *address);
size_t plain_read(thirl *);       /* into the buffer, until it is full or the end comes */
short plain_poll(int fd, int ms); /* what it can be read for */

void plain_fill(const void *data, size_t size);  /* the file */
void plain_check(const void *data, size_t size); /* that is in it; removes it */

#endif
