// SPDX-License-Identifier: GPL-2.0-only
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/options.h"
#include "base/log.h"
#include "config/config.h"

static const char usage[] =
	"Usage: edgebucketd [-c FILE] [--redis-config FILE] [--monitor] [--check]\n"
	"                   [--log-level LEVEL] [--log-format FORMAT]\n"
	"Limits traffic per source at the network card.\n"
	"\n"
	"  -c, --config FILE      configuration (default " EB_DEFAULT_CONFIG_PATH ")\n"
	"      --redis-config F   the redis part of the configuration, JSON or YAML\n"
	"      --monitor          drop nothing; rules count what they would drop\n"
	"      --check            check the configuration and exit\n"
	"      --log-level LEVEL  error, warning, info (default) or debug\n"
	"      --log-format F     logfmt (default) or json\n"
	"      --version          print the version and exit\n"
	"      --help             print this and exit\n"
	"\n"
	"Signals: TERM, INT stop; HUP reloads; USR1 flushes. See edgebucketd(8).\n";

enum { EXIT_MISUSE = 2 };
enum { OPT_REDIS = 256, OPT_MONITOR, OPT_CHECK, OPT_LOG_LEVEL, OPT_LOG_FORMAT, OPT_VERSION, OPT_HELP };

int eb_options_parse(int argc, char **argv, struct eb_options *out)
{
	static const struct option long_options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "redis-config", required_argument, NULL, OPT_REDIS },
		{ "monitor", no_argument, NULL, OPT_MONITOR },
		{ "check", no_argument, NULL, OPT_CHECK },
		{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
		{ "log-format", required_argument, NULL, OPT_LOG_FORMAT },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, OPT_HELP },
		{ NULL, 0, NULL, 0 },
	};
	enum eb_log_format format;
	enum eb_log_level level;
	int option;

	*out = (struct eb_options){ .config_path = EB_DEFAULT_CONFIG_PATH };
	while ((option = getopt_long(argc, argv, "c:", long_options, NULL)) != -1) {
		switch (option) {
		case 'c':
			out->config_path = optarg;
			break;
		case OPT_REDIS:
			out->redis_path = optarg;
			break;
		case OPT_MONITOR:
			out->monitor = true;
			break;
		case OPT_CHECK:
			out->check = true;
			break;
		case OPT_LOG_LEVEL:
			if (eb_log_parse_level(optarg, &level)) {
				fprintf(stderr, "edgebucketd: no log level %s: error, warning, info or debug\n",
					optarg);
				return EXIT_MISUSE;
			}
			eb_log_set_level(level);
			break;
		case OPT_LOG_FORMAT:
			if (eb_log_parse_format(optarg, &format)) {
				fprintf(stderr, "edgebucketd: no log format %s: logfmt or json\n", optarg);
				return EXIT_MISUSE;
			}
			eb_log_set_format(format);
			break;
		case OPT_VERSION:
			puts("edgebucketd " EB_VERSION);
			return EXIT_SUCCESS;
		case OPT_HELP:
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			fputs(usage, stderr);
			return EXIT_MISUSE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "edgebucketd: unexpected argument %s\n", argv[optind]);
	return EXIT_MISUSE;
}
