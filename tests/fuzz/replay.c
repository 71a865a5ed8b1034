/* SPDX-License-Identifier: MIT */
/* Gives a fuzz target each file of a folder, in the order of their names. */
#define _DEFAULT_SOURCE /* scandir */
#include "input.h"

#include <dirent.h>
#include <string.h>

static int is_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* In memory of just that size, so that a sanitizer sees what is read behind it. */
static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        return -1;
    long size = ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(size > 0 ? (size_t)size : 1);
    if (size < 0 || !bytes || fread(bytes, 1, (size_t)size, file) != (size_t)size)
        return -1;
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, (size_t)size);
    free(bytes);
    return 0;
}

int main(int count, char **arguments)
{
    char path[4096];
    struct dirent **names;
    int number = count == 2 ? scandir(arguments[1], &names, is_file, alphasort) : -1;
    if (number <= 0) {
        fprintf(stderr, "usage: %s FOLDER, which is not empty\n", arguments[0]);
        return 2;
    }
    for (int i = 0; i < number; i++) {
        snprintf(path, sizeof path, "%s/%s", arguments[1], names[i]->d_name);
        fprintf(stderr, "%s\n", names[i]->d_name); /* the last one is the one that failed */
        if (replay(path) < 0) {
            fprintf(stderr, "%s: can't be read\n", path);
            return 2;
        }
        free(names[i]);
    }
    free(names);
    printf("%d inputs\n", number);
    return 0;
}
