/* Runs the fuzz target once for each file that is named: a check without libFuzzer. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LONGEST = 1 << 20 };

int main(int count, char **names)
{
    uint8_t *data = malloc(LONGEST);
    for (int at = 1; at < count; at++) {
        FILE *file = fopen(names[at], "rb");
        if (!data || !file) {
            perror(names[at]);
            return EXIT_FAILURE;
        }
        LLVMFuzzerTestOneInput(data, fread(data, 1, LONGEST, file));
        fclose(file);
    }
    free(data);
    printf("%d inputs\n", count - 1);
    return EXIT_SUCCESS;
}
