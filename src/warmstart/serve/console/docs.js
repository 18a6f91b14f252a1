// The page of the API: Swagger UI, from files of the service only.
"use strict";

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null, // no request to any other server
});
