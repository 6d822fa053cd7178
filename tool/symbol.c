/* SPDX-License-Identifier: MIT
 *
 * Names of addresses by the symbols of a program's own file, and lines by addr2line(1) where that is installed. The file is somebody
 * else's: whatever it says is checked, and nothing of it is mapped.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool/tool.h"

#define TABLE_MOST ((uint64_t)1 << 30) /* bytes of symbols, or of names */
#define LINE_PATIENCE_MS 10000         /* large programs have large tables */

static void *read_piece(int fd, uint64_t offset, uint64_t size) {
    char *piece = size > TABLE_MOST || offset > INT64_MAX / 2 ? NULL : calloc(1, size + 1);
    size_t got = 0;
    while (piece && got < size) {
        ssize_t n = pread(fd, piece + got, size - got, (off_t)(offset + got));
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            free(piece);
            return NULL;
        }
        got += n > 0 ? (size_t)n : 0;
    }
    return piece;
}

static bool read_head(int fd, ElfW(Ehdr) * head) {
    const int class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    return pread(fd, head, sizeof *head, 0) == (ssize_t)sizeof *head && memcmp(head->e_ident, ELFMAG, SELFMAG) == 0 &&
           head->e_ident[EI_CLASS] == class;
}

/* The symbol that covers the address, or the nearest below it in a table where sizes are missing. */
static bool search(int fd, const ElfW(Shdr) * table, const ElfW(Shdr) * names, uint64_t address, struct symbol *found) {
    ElfW(Sym) *symbol = read_piece(fd, table->sh_offset, table->sh_size);
    char *text = read_piece(fd, names->sh_offset, names->sh_size);
    const ElfW(Sym) *best = NULL;
    for (uint64_t i = 0; symbol && text && i < table->sh_size / sizeof *symbol; i++) {
        const ElfW(Sym) *s = &symbol[i];
        int type = (int)(s->st_info & 15);
        bool covers = s->st_value <= address && address - s->st_value < (s->st_size ? s->st_size : 1);
        if ((type == STT_FUNC || type == STT_OBJECT) && s->st_shndx != SHN_UNDEF && covers &&
            s->st_name < names->sh_size && (!best || s->st_value > best->st_value)) {
            best = s;
        }
    }
    if (best) {
        snprintf(found->name, sizeof found->name, "%s", text + best->st_name);
        found->offset = address - best->st_value;
    }
    free(symbol);
    free(text);
    return best != NULL;
}

bool symbol_find(const char *path, uint64_t address, struct symbol *found) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ElfW(Ehdr) head;
    ElfW(Shdr) *section = NULL;
    bool done = false;
    if (fd >= 0 && read_head(fd, &head) && head.e_shentsize == sizeof *section) {
        section = read_piece(fd, head.e_shoff, (uint64_t)head.e_shnum * sizeof *section);
    }
    const unsigned kinds[] = {SHT_SYMTAB, SHT_DYNSYM};
    for (size_t k = 0; section && k < 2; k++) {
        for (size_t i = 0; !done && i < head.e_shnum; i++) {
            bool fits = section[i].sh_type == kinds[k] && section[i].sh_link < head.e_shnum;
            done = fits && search(fd, &section[i], &section[section[i].sh_link], address, found);
        }
    }
    free(section);
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

bool symbol_address(const char *path, uint64_t offset, uint64_t *address) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ElfW(Ehdr) head;
    ElfW(Phdr) *part = NULL;
    bool done = false;
    if (fd >= 0 && read_head(fd, &head) && head.e_phentsize == sizeof *part) {
        part = read_piece(fd, head.e_phoff, (uint64_t)head.e_phnum * sizeof *part);
    }
    for (size_t i = 0; part && !done && i < head.e_phnum; i++) {
        done = part[i].p_type == PT_LOAD && offset >= part[i].p_offset && offset - part[i].p_offset < part[i].p_filesz;
        *address = done ? part[i].p_vaddr + (offset - part[i].p_offset) : 0;
    }
    free(part);
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

/* ---- lines ---- */

/* Reads all that the child writes, NUL-terminated. false: it took too long, or wrote too much. */
static bool listen(int fd, char *text, size_t room) {
    size_t got = 0;
    ssize_t n = 1;
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    while (n > 0 && got + 1 < room && poll(&polled, 1, LINE_PATIENCE_MS) == 1) {
        n = read(fd, text + got, room - 1 - got);
        got += n > 0 ? (size_t)n : 0;
    }
    text[got] = 0;
    return n == 0;
}

static pid_t ask(const char *path, uint64_t address, int *answer) {
    int ends[2];
    char number[32];
    snprintf(number, sizeof number, "0x%llx", (unsigned long long)address);
    if (pipe(ends) != 0) {
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 2);
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execlp("addr2line", "addr2line", "-f", "-C", "-e", path, number, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *answer = ends[0];
    if (child < 0) {
        close(ends[0]);
    }
    return child;
}

bool symbol_line(const char *path, uint64_t address, struct symbol *found) {
    static bool absent; /* it is not installed */
    char text[1024];
    int answer, status;
    pid_t child = absent ? -1 : ask(path, address, &answer);
    if (child < 0) {
        return false;
    }
    if (!listen(answer, text, sizeof text)) {
        kill(child, SIGKILL);
    }
    close(answer);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    absent = WIFEXITED(status) && WEXITSTATUS(status) == 127;
    char *line = strchr(text, '\n');
    if (!line) {
        return false;
    }
    *line++ = 0;
    line[strcspn(line, "\n ")] = 0;
    char *colon = strrchr(line, ':');
    if (!colon || line[0] == '?' || colon[1] < '1' || colon[1] > '9') {
        return false;
    }
    snprintf(found->line, sizeof found->line, "%.*s", (int)sizeof found->line - 1, line);
    if (text[0] != '?') {
        snprintf(found->name, sizeof found->name, "%.*s", (int)sizeof found->name - 1, text);
        found->offset = 0;
    }
    return true;
}
