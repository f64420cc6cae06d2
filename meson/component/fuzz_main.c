// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Stand-in for libFuzzer's main: feeds a fuzz target with its seed files and with mutations of
 * them, so that every build (any compiler, any sanitizer) smoke-tests every parser.
 *
 *   fuzz_x [SEED-FILE-OR-DIRECTORY...]
 *
 * Deterministic: the same seeds give the same inputs. The real fuzzing is `./x fuzz`.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1U << 20)
#define MUTATIONS_PER_SEED 400
#define INPUTS_WITHOUT_SEED 2000

static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* An exact heap copy, so that a sanitizer sees any read past the end. */
static void run_one(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void mutate(uint8_t *data, size_t *size)
{
	static const uint64_t interesting[] = {
		0,	    1,		0x7f,	    0xff,	    0x7fff,	      0xffff,
		0x7fffffff, 0xffffffff, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63
	};
	size_t rounds = 1 + next_random() % 8;

	for (size_t i = 0; i < rounds && *size; i++) {
		/* Half of the changes go to the first 4 KiB: headers live there. */
		size_t window = next_random() & 1 && *size > 4096 ? 4096 : *size;
		size_t at = next_random() % window;
		size_t width = (size_t)1 << (next_random() % 4);
		uint64_t value = interesting[next_random() % (sizeof(interesting) / 8)];

		if (width > *size - at)
			width = *size - at;
		switch (next_random() % 4) {
		case 0:
			data[at] ^= (uint8_t)(1U << (next_random() % 8));
			break;
		case 1:
			memcpy(data + at, &value, width);
			break;
		case 2:
			*size = at;
			break;
		default:
			data[at] = (uint8_t)next_random();
			break;
		}
	}
}

static unsigned int run_file(const char *path)
{
	static uint8_t seed[INPUT_MAX], input[INPUT_MAX];
	FILE *f = fopen(path, "rb");
	size_t seed_size;

	if (!f) {
		fprintf(stderr, "cannot open seed %s\n", path);
		exit(1);
	}
	seed_size = fread(seed, 1, sizeof(seed), f);
	fclose(f);
	run_one(seed, seed_size);
	for (int i = 0; i < MUTATIONS_PER_SEED; i++) {
		size_t size = seed_size;

		memcpy(input, seed, seed_size);
		mutate(input, &size);
		run_one(input, size);
	}
	return 1;
}

static unsigned int run_path(const char *path)
{
	unsigned int seeds = 0;
	struct dirent *entry;
	struct stat st;
	char file[4096];
	DIR *dir;

	if (stat(path, &st))
		return 0; /* no corpus: random inputs only */
	if (!S_ISDIR(st.st_mode))
		return run_file(path);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		seeds += run_file(file);
	}
	if (dir)
		closedir(dir);
	return seeds;
}

int main(int argc, char **argv)
{
	static uint8_t input[8192];
	unsigned int seeds = 0;

	for (int i = 1; i < argc; i++)
		seeds += run_path(argv[i]);
	for (int i = 0; i < INPUTS_WITHOUT_SEED; i++) {
		size_t size = next_random() % sizeof(input);

		for (size_t at = 0; at < size; at++)
			input[at] = (uint8_t)next_random();
		run_one(input, size);
	}
	printf("%u seeds, %d mutations of each, %d random inputs: no crash\n", seeds,
	       MUTATIONS_PER_SEED, INPUTS_WITHOUT_SEED);
	return 0;
}
