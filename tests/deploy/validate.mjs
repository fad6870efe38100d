// SPDX-License-Identifier: GPL-2.0-only
// validate.mjs OBJECTS.json: checks Kubernetes objects twice against what the API's own definitions say. The validators
// of kubernetes-models know required keys, types, enumerations and formats, but let unknown keys pass; so the same
// objects are also compiled as literals of its TypeScript types, which know no other keys.
import { readFileSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";

const objects = JSON.parse(readFileSync(process.argv[2]));
const operator = /^monitoring\.coreos\.com\//;
const packageOf = (apiVersion) =>
	operator.test(apiVersion) ? "@kubernetes-models/prometheus-operator" : "kubernetes-models";
const moduleOf = ({ apiVersion, kind }) => `${packageOf(apiVersion)}/${apiVersion}/${kind}`;
const nameOf = ({ kind, metadata }) => `${kind} ${metadata?.name}`;
let failed = false;

function complain(object, text) {
	console.error(`${nameOf(object)}: ${text}`);
	failed = true;
}

for (const object of objects) {
	try {
		const { [object.kind]: Model } = await import(moduleOf(object));
		new Model(object).validate();
	} catch (error) {
		complain(object, error.message);
	}
}

writeFileSync("objects.mts", objects.map((object, i) =>
	`import type { I${object.kind} as Type${i} } from "${moduleOf(object)}";\n` +
	`export const object${i}: Type${i} = ${JSON.stringify(object, null, "\t")};\n`).join("\n"));
try {
	execFileSync("node_modules/.bin/tsc", ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022",
		"--module", "nodenext", "objects.mts"], { encoding: "utf8" });
} catch (error) {
	console.error(error.stdout);
	failed = true;
}
if (!failed)
	console.log(`valid: ${objects.map(nameOf).join(", ")}`);
process.exit(failed ? 1 : 0);
