/* Replays files through one target, where there is no libFuzzer: every file named, and all files of folders named. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static char current[4096];

/* The sanitizers print their report; which input it was stands beside it. */
static void say_current(void)
{
    fprintf(stderr, "while replaying %s\n", current);
}

void __asan_on_error(void);
void __asan_on_error(void)
{
    say_current();
}

static unsigned replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    static uint8_t bytes[1 << 20];
    if (!file)
        return 0;
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    snprintf(current, sizeof current, "%s", path);
    if (getenv("FUZZ_VERBOSE"))
        say_current();
    uint8_t *input = exact_copy(bytes, size);
    LLVMFuzzerTestOneInput(input, size);
    free(input);
    return 1;
}

static unsigned replay(const char *path)
{
    char inside[4096];
    unsigned n = 0;
    DIR *folder = opendir(path);
    if (!folder)
        return replay_file(path);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "README.md") != 0 &&
            snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name) < (int)sizeof inside)
            n += replay_file(inside);
    closedir(folder);
    return n;
}

int main(int argc, char **argv)
{
    unsigned n = 0;
    for (int i = 1; i < argc; i++)
        n += replay(argv[i]);
    printf("%u inputs\n", n);
    return 0;
}
