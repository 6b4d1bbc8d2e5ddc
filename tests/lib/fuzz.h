/* tests/lib/fuzz.h - runs a target of tests/fuzz/ without a fuzzer: samples
 * that are right, changed at random. A target has libFuzzer's signature, so
 * clang -fsanitize=fuzzer can take it as it is.
 *
 * FUZZ_SEED and FUZZ_ROUNDS in the environment repeat or prolong a run. */
#ifndef ACESO_TESTS_LIB_FUZZ_H
#define ACESO_TESTS_LIB_FUZZ_H
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_sample {
	const void *data;
	size_t size;
};

/* Give the target each sample as it is, then @rounds changed ones, each in
 * memory of exactly its size. Prints the seed. */
void fuzz_run(const struct fuzz_sample *samples, size_t n, unsigned rounds);
#endif
