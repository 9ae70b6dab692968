window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  // The default sends the document to a service of Swagger's makers.
  validatorUrl: null,
});
