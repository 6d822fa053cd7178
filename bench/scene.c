/* SPDX-License-Identifier: MIT
 *
 * Read from /proc and /sys.
 */
#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "bench/scene.h"
#include "bench/stage.h"

/* The first line of a file, without what is not printed. */
static int read_line(const char *path, char *text, size_t capacity) {
    FILE *file = fopen(path, "re");
    int found = file && fgets(text, (int)capacity, file);
    if (file) {
        (void)fclose(file);
    }
    text[found ? strcspn(text, "\n") : 0] = 0;
    return found && text[0];
}

static void read_cpu(char *text, size_t capacity) {
    char line[400];
    FILE *file = fopen("/proc/cpuinfo", "re");
    (void)snprintf(text, capacity, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (colon && (strncmp(line, "model name", 10) == 0 || strncmp(line, "Model", 5) == 0)) {
            (void)snprintf(text, capacity, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (file) {
        (void)fclose(file);
    }
}

static void read_stolen(uint64_t stolen[2]) {
    char line[400] = "";
    stolen[0] = stolen[1] = 0;
    if (!read_line("/proc/stat", line, sizeof line)) {
        return;
    }
    char *at = line + strcspn(line, " ");
    for (int i = 0; i < 8; i++) { /* user nice system idle iowait irq softirq steal */
        uint64_t ticks = strtoull(at, &at, 10);
        stolen[1] += ticks;
        stolen[0] = i == 7 ? ticks : 0;
    }
}

/* The last level that both are in. */
static void read_shared(char *text, size_t capacity) {
    int cpu[2];
    (void)snprintf(text, capacity, "shared cache not visible");
    if (stage_cpus(cpu) < 2) {
        (void)snprintf(text, capacity, "alone");
        return;
    }
    for (int index = 0; index < 8; index++) {
        char path[100], level[16], list[100];
        cpu_set_t set;
        CPU_ZERO(&set);
        (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/level", cpu[0], index);
        if (!read_line(path, level, sizeof level)) {
            break;
        }
        (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/shared_cpu_list", cpu[0], index);
        (void)read_line(path, list, sizeof list);
        for (char *at = list; isdigit((unsigned char)*at); at += *at == ',') {
            long first = strtol(at, &at, 10), last = *at == '-' ? strtol(at + 1, &at, 10) : first;
            for (long i = first; i <= last && i < CPU_SETSIZE; i++) {
                CPU_SET((int)i, &set);
            }
        }
        if (CPU_ISSET(cpu[1], &set)) {
            (void)snprintf(text, capacity, "sharing L%.8s", level);
            return;
        }
        (void)snprintf(text, capacity, "sharing no cache");
    }
}

void scene_begin(struct scene *scene) {
    struct utsname name;
    char text[100];
    cpu_set_t set;
    time_t now = time(NULL);
    struct tm utc;
    memset(scene, 0, sizeof *scene);
    read_cpu(scene->cpu, sizeof scene->cpu);
    if (uname(&name) == 0) {
        (void)snprintf(scene->kernel, sizeof scene->kernel, "%.60s %.20s", name.release, name.machine);
    }
    if (!read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", scene->governor, sizeof scene->governor)) {
        (void)snprintf(scene->governor, sizeof scene->governor, "not visible");
    }
    (void)strftime(scene->when, sizeof scene->when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    read_shared(scene->shared, sizeof scene->shared);
    scene->processors = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    scene->load = read_line("/proc/loadavg", text, sizeof text) ? strtod(text, NULL) : 0;
    read_stolen(scene->stolen);
    scene->begun = stage_now();
}

void scene_end(struct scene *scene) {
    uint64_t stolen[2];
    read_stolen(stolen);
    scene->seconds = (double)(stage_now() - scene->begun) / 1e9;
    scene->steal = stolen[1] > scene->stolen[1]
                       ? (double)(stolen[0] - scene->stolen[0]) / (double)(stolen[1] - scene->stolen[1])
                       : 0;
}
