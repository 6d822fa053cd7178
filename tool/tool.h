/* SPDX-License-Identifier: MIT
 *
 * What the rooms of the command-line tool share: the tables of verbs, options and exit codes, and the few services that
 * every verb needs. The tool is a user like any other: it knows the public header and nothing else of the library.
 */
#ifndef TOOL_TOOL_H
#define TOOL_TOOL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <thirl/advise.h>
#include <thirl/doctor.h>
#include <thirl/thirl.h>

/* ---- tables ------------------------------------------------------------------------------------------------------ */

#define TOOL_EXITS(X)                                                                                                  \
    X(DONE, 0, "done")                                                                                                 \
    X(USAGE, 1, "error in use: verb, option, address or role")                                                         \
    X(TIMEOUT, 2, "the time limit of --timeout passed")                                                                \
    X(DIED, 3, "the peer died")                                                                                        \
    X(CLOSED, 4, "the peer closed its end too early, or did not take everything")                                      \
    X(DENIED, 5, "no permission")                                                                                      \
    X(OTHER, 6, "another error; the sentence on standard error says which")                                            \
    X(ILL, 7, "thirl doctor: somebody waits for what nobody will let go of")                                           \
    X(RISK, 8, "thirl doctor: locks are taken in orders that may become a deadlock")                                   \
    X(HANGUP, 129, "ended by SIGHUP")                                                                                  \
    X(INTERRUPT, 130, "ended by SIGINT")                                                                               \
    X(PIPE, 141, "nobody reads standard output any more")                                                              \
    X(TERMINATE, 143, "ended by SIGTERM")

enum tool_exit {
#define TOOL_EXIT_CODE(name, code, text) TOOL_##name = code,
    TOOL_EXITS(TOOL_EXIT_CODE)
#undef TOOL_EXIT_CODE
};

enum {
    FOR_SEND = 1,
    FOR_RECV = 2,
    FOR_LIST = 4,
    FOR_VERSION = 8,
    FOR_HELP = 16,
    FOR_MECHANISMS = 32,
    FOR_PING = 64,
    FOR_RUN = 128,
    FOR_CLEAN = 256,
    FOR_PUB = 512,
    FOR_SUB = 1024,
    FOR_PUSH = 2048,
    FOR_PULL = 4096,
    FOR_CALL = 8192,
    FOR_SERVE = 16384,
    FOR_STATE = 32768,
    FOR_DOCTOR = 65536,
    FOR_CACHE = 131072,
    FOR_LOCK = 262144,
    FOR_ADVISE = 524288,
    FOR_BENCH = 1048576,
    FOR_ALL = 2097151,
    FOR_SENDERS = FOR_SEND | FOR_PUB | FOR_PUSH,
    FOR_RECEIVERS = FOR_RECV | FOR_SUB | FOR_PULL,
    FOR_FLOW = FOR_SENDERS | FOR_RECEIVERS,
    FOR_JSON =
        FOR_LIST | FOR_DOCTOR | FOR_VERSION | FOR_MECHANISMS | FOR_PING | FOR_CLEAN | FOR_CACHE | FOR_LOCK | FOR_ADVISE,
};

/* id, name, letter or 0, argument or NULL, verbs, text */
#define TOOL_OPTIONS(X)                                                                                                \
    X(INPUT, "file", 'f', "PATH", FOR_SENDERS | FOR_CALL, "read PATH; - is standard input, which is the default")      \
    X(OUTPUT, "file", 'f', "PATH", FOR_RECEIVERS, "write PATH; - is standard output, which is the default")            \
    X(MESSAGE, "message", 'm', "TEXT", FOR_SENDERS | FOR_CALL, "send TEXT as one message and read nothing")            \
    X(VALUE, "message", 'm', "TEXT", FOR_STATE, "write TEXT as the new value, and make the state if it is not there")  \
    X(WATCH, "watch", 'w', NULL, FOR_STATE, "print each new value until the time limit or a signal")                   \
    X(LENGTH, "length", 'l', NULL, FOR_FLOW | FOR_RUN | FOR_CALL, "a 4-byte big-endian length before each message")    \
    X(STREAM, "stream", 's', NULL, FOR_SEND | FOR_RECV, "one stream of bytes up to its end, without messages")         \
    X(ROLE, "role", 'r', "ROLE", FOR_SEND | FOR_RECV,                                                                  \
      "pair, push, pull, ...; else the first that the address carries")                                                \
    X(COUNT, "count", 'n', "N", FOR_RECEIVERS | FOR_SERVE, "stop after N messages")                                    \
    X(TRIPS, "count", 'n', "N", FOR_PING, "N round trips; 1000 unless said")                                           \
    X(SIZE, "size", 's', "BYTES", FOR_PING, "of each message, from 8; 64 unless said")                                 \
    X(INTERVAL, "interval", 'i', "TIME", FOR_PING, "from one to the next; else at once")                               \
    X(SERVE, "serve", 0, NULL, FOR_PING, "send back what arrives, until the other end is closed")                      \
    X(BOTH, "both", 'b', NULL, FOR_PING, "do that too, in a child; the only way where a child inherits its end")       \
    X(OVER, "over", 'o', "ADDRESS", FOR_RUN, "talk to it there; pipe:// unless said")                                  \
    X(KEEP, "keep", 'k', NULL, FOR_RUN, "after the end of the input wait until the child closes its end")              \
    X(JOBS, "jobs", 'j', "N", FOR_RUN, "N workers that share what is sent; those that die are started again")          \
    X(RUN_JSON, "json", 0, NULL, FOR_RUN, "of -j: what is told on standard error as JSON objects, and a summary")      \
    X(WHOLE, "all", 'a', NULL, FOR_CLEAN, "whatever belongs to nobody any more")                                       \
    X(MACHINE, "all", 'a', NULL, FOR_DOCTOR, "each registry that a process of this machine has joined")               \
    X(ECHO, "echo", 'e', NULL, FOR_SERVE, "answer each request with itself")                                           \
    X(TOPIC, "topic", 0, NULL, FOR_SUB, "the topic and a tab before each message")                                     \
    X(CHANNEL, "channel", 'c', "ADDRESS", FOR_ADVISE, "by what that channel does; watches it for a second")            \
    X(TRACE, "trace", 0, "FILE", FOR_ADVISE, "by what ?spy= has written there; of the channel, if one is said")        \
    X(MOMENT, "interval", 'i', "TIME", FOR_ADVISE, "watch the channel for so long")                                    \
    X(PATTERN, "pattern", 'p', "ROLE", FOR_ADVISE, "pair, stream, push, pub, call or notify; pair unless said")        \
    X(BYTES, "size", 's', "BYTES", FOR_ADVISE, "of a message; 64 unless said")                                         \
    X(LARGEST, "largest", 0, "BYTES", FOR_ADVISE, "of the largest one, if that is another")                            \
    X(RATE, "rate", 0, "N/s", FOR_ADVISE, "messages a second of all senders: 200, 50k/s, 2M/s")                        \
    X(SENDERS, "senders", 0, "N", FOR_ADVISE, "how many there are; 1 unless said")                                     \
    X(RECEIVERS, "receivers", 0, "N", FOR_ADVISE, "likewise")                                                          \
    X(ACROSS, "across", 0, "WHOM", FOR_ADVISE, "user, users, containers or hosts; user unless said")                   \
    X(PRIORITY, "priority", 0, "WHAT", FOR_ADVISE, "latency, throughput, cpu or simplicity; latency unless said")      \
    X(WAITING, "wait", 0, "HOW", FOR_ADVISE, "adaptive, spin or sleep; adaptive unless said")                          \
    X(LEVELS, "levels", 0, "N", FOR_ADVISE, "of priority that messages are to have")                                   \
    X(TRUST, "trust", 0, NULL, FOR_ADVISE, "those who meet trust each other")                                          \
    X(CHILD, "child", 0, NULL, FOR_ADVISE, "the other end is a child's, which inherits it")                            \
    X(RIGHTS, "descriptors", 0, NULL, FOR_ADVISE, "are to travel with messages")                                       \
    X(KEPT, "kept", 0, NULL, FOR_ADVISE, "messages are to wait while nobody is there")                                 \
    X(LOSSY, "lossy", 0, NULL, FOR_ADVISE, "a message may be lost")                                                    \
    X(NAME, "name", 0, "NAME", FOR_ADVISE, "of the channel, in addresses; advised unless said")                        \
    X(TIMEOUT, "timeout", 't', "TIME", FOR_FLOW | FOR_PING | FOR_CALL | FOR_SERVE | FOR_STATE | FOR_CACHE,             \
      "longest wait for the peer: 100ms, 5s, 2m; else never")                                                          \
    X(STATS, "stats", 0, NULL, FOR_FLOW | FOR_CALL | FOR_SERVE, "a summary on standard error at the end")              \
    X(QUIET, "quiet", 'q', NULL, FOR_FLOW | FOR_CALL | FOR_SERVE, "no progress on a terminal")                         \
    X(SUMMARY_JSON, "json", 'j', NULL, FOR_SENDERS, "the summary of --stats as a JSON object")                         \
    X(MESSAGE_JSON, "json", 'j', NULL, FOR_RECEIVERS | FOR_CALL,                                                       \
      "each message as a JSON object on a line; --stats likewise")                                                     \
    X(JSON, "json", 'j', NULL, FOR_JSON, "print JSON")                                                                 \
    X(HELP, "help", 'h', NULL, FOR_ALL, "show this help")

enum tool_option_id {
#define TOOL_OPTION_ID(id, name, letter, argument, verbs, text) OPTION_##id,
    TOOL_OPTIONS(TOOL_OPTION_ID)
#undef TOOL_OPTION_ID
};

struct tool_option {
    const char *name;
    char letter;
    const char *argument;
    unsigned verbs;
    const char *text;
};

extern const struct tool_option tool_options[]; /* ends with a NULL name */

enum tool_format { FORMAT_LINES, FORMAT_LENGTH, FORMAT_STREAM };

/* Of advise. */
struct tool_wish {
    struct thirl_wish wish;
    bool named; /* the role was said */
};

struct tool_args {
    const struct tool_verb *verb;
    const char *operand; /* ADDRESS, VERB of help, CMD of run; NULL when there is none */
    char **
        command; /* of run and serve: CMD and its arguments, with a NULL behind them; of cache and bench what to do; else NULL */
    const char *file, *message, *over, *channel, *trace;
    enum tool_format format;
    bool json, stats, quiet, help, serve, both, keep, all, echo, watch, topic;
    int role;         /* enum thirl_role; 0: see flow_role */
    uint64_t jobs;    /* workers of run; 0: one child that has the other end */
    uint64_t count;   /* 0: no limit, or what the verb does unless told */
    uint64_t size;    /* likewise */
    int64_t interval; /* ns */
    int64_t timeout;  /* ns; INT64_MAX: never */
    struct tool_wish advise;
};

struct tool_verb {
    const char *name, *operand, *summary;
    unsigned bit;       /* FOR_… */
    int role;           /* enum thirl_role, where the verb says it; else 0 */
    bool needs_operand; /* else it is optional, or not allowed where operand is NULL */
    int (*run)(const struct tool_args *);
    const char *text; /* paragraphs for help */
};

extern const struct tool_verb tool_verbs[]; /* ends with a NULL name */

int tool_send(const struct tool_args *);
int tool_recv(const struct tool_args *);
int tool_list(const struct tool_args *);
int tool_mechanisms(const struct tool_args *);
int tool_ping(const struct tool_args *);
int tool_run(const struct tool_args *);
int tool_jobs(const struct tool_args *); /* run -j */
int tool_call(const struct tool_args *);
int tool_serve(const struct tool_args *);
int tool_state(const struct tool_args *);
int tool_cache(const struct tool_args *);
int tool_lock(const struct tool_args *);
int tool_doctor(const struct tool_args *);
int tool_clean(const struct tool_args *);
int tool_advise(const struct tool_args *);
int tool_bench(const struct tool_args *);
int tool_version(const struct tool_args *);
int tool_help(const struct tool_args *);

/* ---- main.c, option.c -------------------------------------------------------------------------------------------- */

/* One sentence on standard error, behind "thirl VERB: ". */
void tool_say(const struct tool_args *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The exit code for an error of the library or the system. */
enum tool_exit tool_exit_of(int code);

/* Fills args from what stands behind the verb; TOOL_DONE or TOOL_USAGE, then it has said why. */
enum tool_exit option_parse(struct tool_args *, int count, char **words);

/* Which of a table's names is nearest to word, NULL when none is near: index 0, 1, … until name(index) is NULL. */
const char *option_nearest(const char *word, const char *(*name)(size_t index, unsigned bit), unsigned bit);

/* What stands behind an option as a number of bytes, with K, M or G; false: it is none. */
bool option_bytes(const char *text, uint64_t *bytes);

/* ---- wish.c: what advise is asked ----------------------------------------------------------------------------------- */

/* Sets what that option of advise says; false: it takes something else, see wish_takes. */
bool wish_set(struct tool_wish *, enum tool_option_id, const char *value);
const char *wish_takes(enum tool_option_id);

/* ---- habit.c: what a channel really does ---------------------------------------------------------------------------- */

struct tool_habit {
    uint32_t role; /* 0: nobody is there */
    uint32_t wait;
    unsigned pairs, senders, receivers; /* ends: of a pair, and others */
    uint64_t bytes, largest;            /* of a message; 0: not known */
    uint64_t messages, rate;            /* in that time, and a second */
    double seconds;
    char mechanism[16]; /* "shm", "seqpacket" */
};

/* Of args->channel, by the counters of its ends, for args->interval; of args->trace, by its lines. TOOL_DONE, or it says why not. */
enum tool_exit habit_watch(struct tool_habit *, const struct tool_args *);
enum tool_exit habit_read(struct tool_habit *, const struct tool_args *);

/* What the wish does not say, the habit does. */
void habit_wish(const struct tool_habit *, struct tool_wish *);

/* ---- text.c: output that notices a full disk ---------------------------------------------------------------------- */

struct text {
    int fd;
    int error; /* the first errno of a write; what comes after it is dropped */
    size_t used;
    char buffer[65536];
};

void text_init(struct text *, int fd);
void text_bytes(struct text *, const void *data, size_t size);
void text_print(struct text *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_json(struct text *, const void *data, size_t size);    /* a quoted JSON string */
void text_base64(struct text *, const void *data, size_t size);  /* likewise quoted */
void text_payload(struct text *, const void *data, size_t size); /* "text":"…", or "base64":"…" where it is none */
bool text_is_utf8(const void *data, size_t size);
char *text_replace(const char *word, const char *address); /* each {} becomes the address; malloc, or NULL */
char *text_clean(char *); /* for a terminal: "?" for control characters and what is no UTF-8; returns its argument */
int text_flush(struct text *); /* 0 or -errno */

/* Flushes what a verb printed on standard output; TOOL_DONE, or says why not. */
enum tool_exit text_finish(struct text *, const struct tool_args *);

/* "3.2 MiB"; into a buffer of TEXT_SIZE_MAX, which is returned. */
#define TEXT_SIZE_MAX 24
char *text_size(char *buffer, double bytes);

/* A table: rows of cells, printed with a column as wide as its widest cell. The last column may be as long as it likes. */
struct text_table {
    size_t columns, rows;
    char **cells; /* rows * columns of them, each its own memory */
    bool full;    /* there was no memory */
};
void text_row(struct text_table *, const char *const *cells); /* copies, cleaned; "" is "-" */
void text_table(struct text *, struct text_table *);          /* prints it, and gives the memory back */

/* ---- stop.c: signals ---------------------------------------------------------------------------------------------- */

/* SIGINT, SIGTERM and SIGHUP are noted from now on, SIGPIPE is ignored. A second signal ends the process at once. */
void stop_init(void);

/* While it is on, the first signal ends the process at once too: in calls that cannot be left half-way. */
void stop_at_once(bool on);

/* The exit code for the signal that came, else 0. */
int stop_exit(void);

/* Sleeps until fd has one of the poll events, the other descriptor (or -1) is readable, or a signal came. */
enum stop_news { STOP_SIGNAL, STOP_READY, STOP_OTHER };
enum stop_news stop_wait(int fd, short events, int other);

/* ---- given.c: descriptors that the tool was given, and addresses name ---------------------------------------------- */

struct given {
    int fd;                  /* fd://N is N, activated://NAME that of the socket; -1: the address means none */
    int other;               /* its other end, as given_both found it; or -1 */
    bool listens, connected; /* a socket that does */
};

/* Looks before the tool opens anything: its own descriptors get numbers that nobody gave it. TOOL_DONE, or says that the
 * descriptor is not open. */
enum tool_exit given_look(struct given *, const struct tool_args *, const char *address);

/* Was the process given the other end of a connected socket too? Fills in which. */
bool given_both(struct given *);

/* "fd://N" with the options of the address. */
void given_address(char *out, size_t room, int fd, const char *address);

/* Closes it; 0, 1 and 2 become /dev/null. */
void given_shut(int fd);

/* Moves it behind what a service manager gave, if it is among that: given_pass_on changes numbers there. Its number, or -1. */
int given_apart(int fd);

/* In a child, before it becomes another program: what a service manager gave to its parent, `before`, is the child's, but for
 * what the parent has taken for itself. The variables say so. */
void given_pass_on(pid_t before);

/* ---- staff.c: the workers of run -j --------------------------------------------------------------------------------- */

struct staff_one {
    pid_t pid;          /* 0: there is none now */
    int64_t born, due;  /* due: it is to be started then */
    unsigned fruitless; /* deaths in a row, each soon after its start */
    bool retired;       /* not started again */
};

struct staff {
    const struct tool_args *args;
    const char *address; /* theirs */
    struct staff_one *one;
    size_t count, alive, retired;
    uint64_t restarts;
    int signals;  /* a signalfd: readable when staff_tend has something to do */
    int signal;   /* the one that ends it all; 0: none came */
    int given_up; /* the exit code of a worker that died again and again, or could not be run; 0: there is none */
    bool ending;
    int64_t patience;
    sigset_t before;
};

/* Catches signals from here on. The workers are started by the first staff_tend. TOOL_DONE, or it says why not. */
enum tool_exit staff_open(struct staff *, const struct tool_args *, const char *address);

/* Starts, reaps and starts again, tells of it, and ends all at a signal. To be called when `signals` is readable and at staff_due. */
void staff_tend(struct staff *);
int64_t staff_due(const struct staff *);

/* Tells them to end; none is started any more. */
void staff_end(struct staff *);

/* None is there, and none will be. */
bool staff_gone(const struct staff *);
void staff_close(struct staff *);
int64_t staff_now(void); /* CLOCK_MONOTONIC, ns */

/* ---- symbol.c, place.c: names of addresses ------------------------------------------------------------------------ */

struct symbol {
    char name[128];  /* a function or variable, "" none */
    uint64_t offset; /* behind its beginning */
    char line[256];  /* "path/to/file.c:12", "" unknown */
};

/* The symbol of that file which covers an address, as the file calls it; and its line and function by addr2line, when that is there. */
bool symbol_find(const char *path, uint64_t address, struct symbol *);
bool symbol_line(const char *path, uint64_t address, struct symbol *);

/* What a program's file calls the place at that offset in it. false: it is no program, or nothing of it is loaded from there. */
bool symbol_address(const char *path, uint64_t offset, uint64_t *address);

#define PLACE_MAX 512
struct place {
    char text[PLACE_MAX];        /* for people; never "" */
    char path[PLACE_MAX];        /* of the file, "" unknown */
    uint64_t offset;             /* in it: as the file calls the address, where it is a program */
    char symbol[128], line[256]; /* as in struct symbol */
};

/* What a place in the memory of a process is called; call: it is the address behind a call. The process: as this one sees it (0: not), and
 * its program. */
void place_name(struct place *, int64_t here, const char *exe, const struct thirl_site *, bool call);

/* ---- machine.c: the registries of this machine --------------------------------------------------------------------- */

/* Does what a verb does for each registry that a process has joined whose open files this one may see, in a process of its own, and prints
 * which one it is: a line before, or, with --json, elements of an array. The exit code that matters most. */
int tool_each_registry(const struct tool_args *, int (*verb)(const struct tool_args *));

/* ---- flow.c: what send and recv share ----------------------------------------------------------------------------- */

struct flow {
    const struct tool_args *args;
    thirl *end;
    struct thirl_limits limits;
    int fd; /* input or output */
    int64_t opened, started, shown;
    uint64_t messages, bytes;
    bool terminal, drawn;
};

/* The role of the end: the verb's or the one that was asked for; else of those that send (or receive) messages, the first that
 * the address's mechanism carries. */
enum thirl_role flow_role(const struct tool_args *, bool sends);

/* Opens the end of args->operand and the file. TOOL_DONE, or says why not. */
enum tool_exit flow_open(struct flow *, const struct tool_args *, enum thirl_role, int file_flags);

/* When a wait that begins now must be over, in ns; and the next stretch of it, short enough to notice a signal. */
int64_t flow_deadline(const struct flow *);
thirl_time flow_stretch(int64_t deadline);

/* Shall a call that answered code be repeated, because only its stretch is over? Keeps the progress line going. */
bool flow_again(struct flow *, int code, int64_t deadline);

/* The clock of the summary begins: the peer is there. */
void flow_begin(struct flow *);

/* Another message or piece of that size has passed. */
void flow_count(struct flow *, size_t size);

/* Says the library's sentence for a failed call; the exit code. Nothing is said when a signal is the cause. */
enum tool_exit flow_fail(struct flow *, int code);

/* Says that the file cannot be read or written; the exit code. */
enum tool_exit flow_fail_file(struct flow *, int error, const char *what);

/* Ends the progress line, prints the summary if it was asked for, and returns exit_code. */
int flow_finish(struct flow *, int exit_code);

#endif
