import js from "@eslint/js";

export default [
  {
    files: ["**/*.js"],
    ...js.configs.recommended,
    rules: {
      ...js.configs.recommended.rules,
      "no-undef": "off", // tsc knows the browser's names
      "no-shadow": ["error", { allow: ["_"] }],
      "no-var": "error",
      "prefer-const": "error",
      eqeqeq: "error",
      // tsc does not see what Object.assign() gives an object.
      "no-restricted-syntax": ["error", "CallExpression[callee.property.name='assign'] > ThisExpression"],
    },
  },
];
