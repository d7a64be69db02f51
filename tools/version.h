/* The number that --version, every JSON document and the man page show. */
#ifndef QN_TOOLS_VERSION_H
#define QN_TOOLS_VERSION_H

#define QN_VERSION "0.1.0"

#endif
