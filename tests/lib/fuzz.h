/* tests/lib/fuzz.h - runs a target of tests/fuzz/ without a fuzzer: inputs
 * that are right, changed at random. A target has libFuzzer's signature, and
 * `make fuzz` runs it under that; its corpus begins with the same inputs.
 *
 * FUZZ_SEED and FUZZ_ROUNDS in the environment repeat or prolong a run;
 * FUZZ_FILE is an input, and the only one: what a fuzzer has found. */
#ifndef ACESO_TESTS_LIB_FUZZ_H
#define ACESO_TESTS_LIB_FUZZ_H
#include <stddef.h>
#include <stdint.h>

/* --- a target defines ---------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Calls fuzz_seed() with inputs that are right, one of each kind at least. */
void fuzz_seeds(void);

/* --- and may use --------------------------------------------------------- */

void fuzz_seed(const void *data, size_t size); /* copied */

/* --- for a test ---------------------------------------------------------- */

/* Give the target each of its seeds as it is, then @rounds changed ones, each
 * in memory of exactly its size. Prints the number it began with. */
void fuzz_run(unsigned rounds);
/* Write them into @dir. 0 or -errno. */
int fuzz_seeds_write(const char *dir);
#endif
