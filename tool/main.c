/* SPDX-License-Identifier: MIT
 *
 * The command-line tool: finds the verb, reads its options, runs it. Data goes to standard output, everything said to
 * people to standard error, and the exit code says how it ended.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tool/tool.h"

const struct tool_verb tool_verbs[] = {
    {"send", "ADDRESS", "send lines, messages or a stream to the other end", FOR_SEND, 0, true, tool_send,
     "Reads standard input and sends each line as one message, without its newline. Waits for a receiver, and at the\n"
     "end until the receiver has taken everything. A stream that is cut short by a signal or an error is not closed:\n"
     "its reader is told of a death, not of the end.\n"
     "\n"
     "Examples:\n"
     "  thirl send shm://hello --message 'hello, world'\n"
     "  thirl send --stream unix:///run/user/1000/copy.sock < archive.tar\n"},
    {"recv", "ADDRESS", "receive them, and write them to standard output", FOR_RECV, 0, true, tool_recv,
     "Writes each message as one line until the sender closes its end. A message that holds newlines or bytes that "
     "are\n"
     "not text needs --length or --json, which shows such bytes as base64.\n"
     "\n"
     "Examples:\n"
     "  thirl recv shm://hello --count 1\n"
     "  thirl recv --stream unix:///run/user/1000/copy.sock > archive.tar\n"},
    {"pub", "ADDRESS", "publish messages to whoever subscribes", FOR_PUB, THIRL_PUB, true, tool_send,
     "As thirl send, but every subscriber gets each message, and who is not there gets none. What becomes of a "
     "message\n"
     "when a subscriber is slow, the address says (?full=), and how many of the last ones late subscribers get\n"
     "(?history=).\n"
     "\n"
     "Example:\n"
     "  tail -f log | thirl pub 'shm://log?history=100'\n"},
    {"sub", "ADDRESS", "subscribe to them, and write them to standard output", FOR_SUB, THIRL_SUB, true, tool_recv,
     "As thirl recv. Publishers come and go; it ends with --count, or by a signal. --json shows how many messages "
     "were\n"
     "lost before each.\n"
     "\n"
     "Example:\n"
     "  thirl sub shm://log --json\n"
     "  thirl sub 'shm://camera/*' --topic\n"},
    {"push", "ADDRESS", "put jobs into a queue, each for one worker", FOR_PUSH, THIRL_PUSH, true, tool_send,
     "As thirl send, but each message goes to one of the workers that pull, to one that is idle.\n"
     "\n"
     "Example:\n"
     "  ls *.flac | thirl push shm://encode\n"},
    {"pull", "ADDRESS", "take jobs from it, and write them to standard output", FOR_PULL, THIRL_PULL, true, tool_recv,
     "As thirl recv. A job is done when it is written; that of a process which dies before goes to another one, and\n"
     "--json shows that.\n"
     "\n"
     "Example:\n"
     "  thirl pull shm://encode --count 1\n"},
    {"call", "ADDRESS", "send requests to whoever serves, and print the answers", FOR_CALL, 0, true, tool_call,
     "Each line of standard input is a request, sent when the one before is answered; each answer is a line. A "
     "request\n"
     "that is not answered is said on standard error, and the next one is sent.\n"
     "\n"
     "Example:\n"
     "  thirl call shm://sum --message 'hello, world'\n"},
    {"serve", "ADDRESS", "answer them with what a program prints", FOR_SERVE, 0, true, tool_serve,
     "Behind -- stands a command, which is run for each request, with the request as its standard input; what it "
     "prints is\n"
     "the answer, without its last newline. When it fails, the caller is told that there is no answer. Several servers "
     "of\n"
     "one address share the calls.\n"
     "\n"
     "Examples:\n"
     "  thirl serve shm://sum -- sha256sum\n"
     "  thirl serve shm://echo --echo\n"},
    {"list", NULL, "show the ends that are open, and what passed through them", FOR_LIST, 0, false, tool_list,
     "Reads the registry directory only ($THIRL_DIR, else /dev/shm/thirl-UID). SENT and RECEIVED are messages and "
     "their\n"
     "bytes, WAITS is how often the end slept, QUEUE what may wait in it. What is \"left\" belongs to nobody: RECEIVED "
     "is\n"
     "what waits there, and thirl clean removes it. Areas, states, caches and locks have a line of their own, \"used\" "
     "or "
     "\"kept\" for\nwho comes later, with their size; the lines beside it are the handles that processes have.\n"},
    {"ping", "ADDRESS", "measure round trips to the other end", FOR_PING, 0, true, tool_ping,
     "Sends messages to another thirl ping that serves the same address, and waits for each to come back. Prints the\n"
     "shortest, middle and longest times. A socket that was given to it (fd://N, activated://NAME) is like any other\n"
     "address; one that is connected already has its other end elsewhere, and there somebody has to serve.\n"
     "\n"
     "Examples:\n"
     "  thirl ping --serve shm://hello\n"
     "  thirl ping shm://hello --size 4K\n"
     "  thirl ping --both pipe://\n"
     "  systemd-socket-activate -l /run/ping.sock thirl ping --serve activated://\n"},
    {"run", "CMD", "start a program that has the other end, and talk to it", FOR_RUN, 0, true, tool_run,
     "Opens an end, starts CMD with its arguments, and hands it the other end: its address is in the environment, as\n"
     "THIRL_HAND, and stands for each {} in an argument. Standard input goes to the child as messages, one a line, "
     "and\n"
     "its messages come back on standard output. Signals are passed on, and so is the child's exit code. Over fd://N "
     "or\n"
     "activated://NAME of a socket that is connected to another process, CMD itself gets that end, and standard input\n"
     "and output.\n"
     "\n"
     "With -j, N workers pull or serve at one address, $THIRL_ADDRESS or {}: each message of standard input goes to "
     "one of\n"
     "them, and answers come back in order. Those that die are started again. It ends when all is done. At an address\n"
     "that --over gives, others push or call, and it ends by a signal, or when all workers have ended with 0.\n"
     "\n"
     "Examples:\n"
     "  thirl run -- thirl recv {} < lines\n"
     "  thirl run --over fd://3 -- ./worker --channel={}\n"
     "  thirl run --over unix://@job -- ./worker --channel={}\n"
     "  thirl run -j 3 -- thirl serve {} -- sha256sum < lines\n"
     "  thirl run -j 3 --over shm://encode -- ./encoder {}\n"},
    {"mechanisms", NULL, "show what the mechanisms claim on this machine", FOR_MECHANISMS, 0, false, tool_mechanisms,
     "A line for each, as it is with default options: roles, largest message, and what holds. ATOMIC is the largest\n"
     "message that the kernel takes whole, ENDS how many senders and receivers a channel can have.\n"},
    {"state", "NAME", "print or write the latest value of a shared state", FOR_STATE, 0, true, tool_state,
     "Prints the value and a newline. A state stays when its writers have ended.\n"
     "\n"
     "Examples:\n"
     "  thirl state robot/mode --message idle\n"
     "  thirl state robot/mode\n"
     "  thirl state robot/mode --watch\n"},
    {"doctor", NULL, "show who waits for whom, and who waits in a circle", FOR_DOCTOR, 0, false, tool_doctor,
     "Looks at what the threads of all processes in the registry hold and wait for: names each deadlock with process,\n"
     "thread, lock and source line, holders that are stopped, dead or gone, lock orders that were taken both ways, and "
     "what\n"
     "to do. Disturbs nobody. The exit\n"
     "code is 7 when somebody waits for what nobody will let go of, else 8 when locks are taken in orders that may "
     "become\n"
     "a deadlock. With --all it looks into each registry of the machine, those of containers included, that this user\n"
     "may look into.\n"},
    {"cache", "NAME", "read and change a shared cache, and show how it does", FOR_CACHE, 0, true, tool_cache,
     "Behind the name stands what to do: get KEY, put KEY TEXT, remove KEY, or stats, which is done if nothing is "
     "said.\n"
     "Options stand before the name. Only put makes a cache that is not there.\n"
     "\n"
     "Examples:\n"
     "  thirl cache web/pages put /index.html '<p>hello'\n"
     "  thirl cache web/pages get /index.html\n"
     "  thirl cache --json web/pages stats\n"},
    {"lock", "NAME", "show what a lock by name is", FOR_LOCK, 0, true, tool_lock,
     "A lock by name stays when all who used it have ended, until thirl clean removes it. Who holds it, thirl doctor\n"
     "shows.\n"
     "\n"
     "Example:\n"
     "  thirl lock plant/door\n"},
    {"advise", NULL, "show which mechanism is best for what a channel is to do, and why", FOR_ADVISE, 0, false,
     tool_advise,
     "Ranks all mechanisms for the pattern, size, rate and number of ends, with what each is expected to cost and why "
     "the\n"
     "others lost; then the line of C and the commands for the first. The costs are those that thirl bench --save has\n"
     "measured on this machine, else those of another machine, and the last line says which. With --channel or "
     "--trace\n"
     "the rest is what that channel does, where no option says it. Times are of a round "
     "trip\n"
     "for pair, stream and call, of a message from one to the other for the rest.\n"
     "\n"
     "Examples:\n"
     "  thirl advise --pattern call --size 4K --rate 50k/s --receivers 3\n"
     "  thirl advise --pattern push --across hosts --priority throughput\n"
     "  thirl advise --pattern pair --across users --json\n"
     "  thirl advise --channel shm://camera\n"},
    {"bench", "CHOICE", "measure what the mechanisms cost on this machine", FOR_BENCH, 0, false, tool_bench,
     "Runs thirl-bench(1), which has all that stands behind the verb: a choice of mechanisms, patterns, sizes and ways "
     "to "
     "wait,\n"
     "or named cases; without any, every mechanism. Each figure stands beside that of a bare loop over the same "
     "system\n"
     "calls, or the same memory, in the same run. Exit codes are its own.\n"
     "\n"
     "Examples:\n"
     "  thirl bench --quick\n"
     "  thirl bench --save\n"},
    {"clean", "ADDRESS", "remove what dead processes have left in the kernel", FOR_CLEAN, 0, false, tool_clean,
     "Message queues stay in the kernel when their processes end. Removes those of the channel, or of all channels,\n"
     "that nobody has open, with the messages in them, and prints how many those were. Where a channel has left "
     "nothing,\n"
     "the area, state, cache or lock of that name is removed, if nobody has it open; --all leaves those alone.\n"},
    {"version", NULL, "show the version and the mechanisms", FOR_VERSION, 0, false, tool_version, ""},
    {"help", "VERB", "show help, of one verb or of all", FOR_HELP, 0, false, tool_help, ""},
    {NULL, NULL, NULL, 0, 0, false, NULL, NULL}};

void tool_say(const struct tool_args *args, const char *format, ...) {
    char line[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    /* names in it may come from other processes */
    fprintf(stderr, "thirl%s%s: %s\n", args->verb ? " " : "", args->verb ? args->verb->name : "", text_clean(line));
}

enum tool_exit tool_exit_of(int code) {
    switch (code < 0 ? -code : code) {
    case 0:
        return TOOL_DONE;
    case EINVAL:
    case THIRL_EADDRESS:
    case THIRL_EROLE:
        return TOOL_USAGE;
    case EAGAIN:
    case ETIMEDOUT:
        return TOOL_TIMEOUT;
    case THIRL_EPEERDIED:
        return TOOL_DIED;
    case THIRL_ECLOSED:
        return TOOL_CLOSED;
    case EACCES:
    case EPERM:
        return TOOL_DENIED;
    default:
        return TOOL_OTHER;
    }
}

static const char *verb_at(size_t index, unsigned bit) {
    (void)bit;
    return tool_verbs[index].name; /* the last one is NULL, and nobody asks beyond it */
}

static enum tool_exit find(struct tool_args *args, const char *word) {
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        word = "help";
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        word = "version";
    }
    for (const struct tool_verb *v = tool_verbs; v->name; v++) {
        if (strcmp(v->name, word) == 0) {
            args->verb = v;
        }
    }
    if (args->verb) {
        return TOOL_DONE;
    }
    const char *near = option_nearest(word, verb_at, 0);
    if (near) {
        tool_say(args, "unknown verb \"%s\"; did you mean %s?", word, near);
    } else {
        tool_say(args, "unknown verb \"%s\"; thirl help shows the known ones", word);
    }
    return TOOL_USAGE;
}

int main(int argc, char **argv) {
    struct tool_args args = {.timeout = INT64_MAX, .advise.wish = THIRL_WISH};
    if (argc < 2) {
        tool_say(&args, "a verb is needed: send, recv, pub, sub, call, serve, list, ...; thirl help shows them all");
        return TOOL_USAGE;
    }
    enum tool_exit code = find(&args, argv[1]);
    if (code == TOOL_DONE) {
        code = option_parse(&args, argc - 2, argv + 2);
    }
    if (code != TOOL_DONE) {
        return code;
    }
    if (args.help) {
        args.operand = args.verb->name;
        return tool_help(&args);
    }
    return args.verb->run(&args);
}
