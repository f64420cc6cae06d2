// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The program cvmm: picks the command. */
#include <stdio.h>
#include <string.h>

#include "run/doctor.h"
#include "run/run.h"

static const char help[] =
	"usage: cvmm COMMAND [ARG...]\n"
	"\n"
	"  run      run a command in a throwaway virtual machine\n"
	"  doctor   say what this host can and cannot do, and what to do about it\n"
	"  version  print the version\n"
	"\n"
	"cvmm run --help lists the options of run.\n";

int main(int argc, char **argv)
{
	if (argc < 2) {
		fputs(help, stderr);
		return 125;
	}
	if (strcmp(argv[1], "run") == 0)
		return cvmm_run_main(argv + 2);
	if (strcmp(argv[1], "doctor") == 0)
		return cvmm_doctor_main(argv + 2);
	if (strcmp(argv[1], "version") == 0 || strcmp(argv[1], "--version") == 0) {
		printf("cvmm " CVMM_VERSION "\n");
		return 0;
	}
	if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
	    strcmp(argv[1], "-h") == 0) {
		fputs(help, stdout);
		return 0;
	}
	fprintf(stderr, "cvmm: unknown command %s; cvmm --help lists them\n", argv[1]);
	return 125;
}
